#include "arguments.h"

#include <algorithm>
#include <charconv>

#include "json.h"

namespace pockettune {
namespace {

[[noreturn]] void usage(const std::string& why) {
  throw Failure(code::usage, why + ": see pockettune-run --help");
}

template <class Number>
std::optional<Number> parse(const std::string& text) {
  Number value{};
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  if (result.ec != std::errc() || result.ptr != text.data() + text.size()) return std::nullopt;
  return value;
}

template <class Number>
Number in_range(std::string_view name, const std::string& text, Number low, Number high) {
  const std::optional<Number> value = parse<Number>(text);
  if (!value || !(*value >= low && *value <= high)) {
    usage("--" + std::string(name) + " is '" + text + "', not a number from " + Json(low).dump() +
          " to " + Json(high).dump());
  }
  return *value;
}

}  // namespace

Arguments::Arguments(std::span<char*> words, std::initializer_list<std::string_view> allowed) {
  for (size_t i = 0; i < words.size(); i += 2) {
    const std::string_view word = words[i];
    if (!word.starts_with("--")) usage("'" + std::string(word) + "' is no option");
    const std::string_view name = word.substr(2);
    if (std::find(allowed.begin(), allowed.end(), name) == allowed.end()) {
      usage("this command has no option " + std::string(word));
    }
    if (i + 1 == words.size()) usage(std::string(word) + " lacks a value");
    if (!values_.emplace(name, words[i + 1]).second) usage(std::string(word) + " is given twice");
  }
}

const std::string* Arguments::find(std::string_view name) const {
  const auto found = values_.find(name);
  return found == values_.end() ? nullptr : &found->second;
}

std::string Arguments::text(std::string_view name) const {
  const std::string* value = find(name);
  if (!value || value->empty()) usage("--" + std::string(name) + " is missing");
  return *value;
}

Path Arguments::path(std::string_view name) const { return text(name); }

std::optional<Path> Arguments::optional_path(std::string_view name) const {
  return find(name) ? std::optional(path(name)) : std::nullopt;
}

std::optional<int64_t> Arguments::whole(std::string_view name, int64_t low, int64_t high) const {
  const std::string* value = find(name);
  if (!value) return std::nullopt;
  return in_range<int64_t>(name, *value, low, high);
}

std::optional<double> Arguments::real(std::string_view name, double low, double high) const {
  const std::string* value = find(name);
  if (!value) return std::nullopt;
  return in_range<double>(name, *value, low, high);
}

uint64_t Arguments::seed() const {
  const std::string* value = find("seed");
  if (!value) return 0;
  const std::optional<uint64_t> seed = parse<uint64_t>(*value);
  if (!seed) usage("--seed is '" + *value + "', not a whole number from 0 to 2^64 - 1");
  return *seed;
}

int Arguments::threads() const { return static_cast<int>(whole("threads", 1, 64).value_or(1)); }

}  // namespace pockettune
