#include "json.h"

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <unordered_set>

#include "utf8.h"

namespace pockettune {
namespace {

constexpr int max_depth = 32;
constexpr size_t max_values = size_t{1} << 16;
constexpr size_t max_text = size_t{1} << 20;

void append_utf8(std::string& out, uint32_t value) {
  if (value < 0x80) {
    out += static_cast<char>(value);
    return;
  }
  const int extra = value < 0x800 ? 1 : value < 0x10000 ? 2 : 3;
  constexpr uint8_t lead[] = {0, 0xc0, 0xe0, 0xf0};
  out += static_cast<char>(lead[extra] | value >> (6 * extra));
  for (int i = extra - 1; i >= 0; i--) out += static_cast<char>(0x80 | (value >> (6 * i) & 0x3f));
}

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {
    for (size_t at = 0; at < text.size();) {
      if (!next_code_point(text, at))
        throw JsonError("byte " + std::to_string(at) + " is not UTF-8");
    }
  }

  Json document() {
    Json value = this->value(0);
    skip_space();
    if (at_ != text_.size()) fail("there is text after the value");
    return value;
  }

 private:
  [[noreturn]] void fail(const std::string& why) const {
    throw JsonError(why + " at byte " + std::to_string(at_));
  }
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  void skip_space() {
    while (at_ < text_.size() &&
           (peek() == ' ' || peek() == '\t' || peek() == '\n' || peek() == '\r'))
      at_++;
  }
  bool accept(char wanted) {
    if (at_ >= text_.size() || text_[at_] != wanted) return false;
    at_++;
    return true;
  }
  void expect(char wanted) {
    if (!accept(wanted)) fail(std::string("'") + wanted + "' is missing");
  }

  Json value(int depth) {
    if (++values_ > max_values) fail("more than 65536 values");
    skip_space();
    switch (peek()) {
      case '{':
        return object(depth + 1);
      case '[':
        return array(depth + 1);
      case '"':
        return string();
      case 't':
        return word("true", true);
      case 'f':
        return word("false", false);
      case 'n':
        return word("null", nullptr);
      default:
        return number();
    }
  }

  Json word(std::string_view wanted, Json value) {
    if (text_.substr(at_, wanted.size()) != wanted) fail("a value is missing");
    at_ += wanted.size();
    return value;
  }

  Json object(int depth) {
    if (depth > max_depth) fail("more than 32 levels");
    at_++;
    Json::Object members;
    std::unordered_set<std::string> names;
    skip_space();
    if (accept('}')) return members;
    do {
      skip_space();
      if (peek() != '"') fail("a member's name is missing");
      std::string name = string();
      if (!names.insert(name).second) fail("the member '" + name + "' stands twice");
      skip_space();
      expect(':');
      members.emplace_back(std::move(name), value(depth));
      skip_space();
    } while (accept(','));
    expect('}');
    return members;
  }

  Json array(int depth) {
    if (depth > max_depth) fail("more than 32 levels");
    at_++;
    Json::Array values;
    skip_space();
    if (accept(']')) return values;
    do {
      values.push_back(value(depth));
      skip_space();
    } while (accept(','));
    expect(']');
    return values;
  }

  uint32_t four_digits() {
    if (text_.size() - at_ < 4) fail("an escape is cut off");
    uint32_t value = 0;
    const char* begin = text_.data() + at_;
    const auto result = std::from_chars(begin, begin + 4, value, 16);
    if (result.ptr != begin + 4) fail("an escape is wrong");
    at_ += 4;
    return value;
  }

  uint32_t unicode_escape() {
    const uint32_t high = four_digits();
    if (high < 0xd800 || high >= 0xe000) return high;
    if (high >= 0xdc00 || text_.substr(at_, 2) != "\\u") fail("half a surrogate pair");
    at_ += 2;
    const uint32_t low = four_digits();
    if (low < 0xdc00 || low >= 0xe000) fail("half a surrogate pair");
    return 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
  }

  std::string string() {
    at_++;
    const size_t begin = at_;
    const size_t room = max_text - text_bytes_;
    std::string out;
    while (true) {
      if (at_ - begin > room) fail("more than 1 MiB of text");
      if (at_ >= text_.size()) fail("a string is cut off");
      const char c = text_[at_];
      if (static_cast<uint8_t>(c) < 0x20) fail("a control character in a string");
      at_++;
      if (c == '"') {
        text_bytes_ += at_ - 1 - begin;
        return out;
      }
      if (c != '\\') {
        out += c;
        continue;
      }
      if (at_ >= text_.size()) fail("a string is cut off");
      constexpr std::string_view from = "\"\\/bfnrt";
      constexpr std::string_view to = "\"\\/\b\f\n\r\t";
      const char escape = text_[at_++];
      if (escape == 'u') {
        append_utf8(out, unicode_escape());
      } else if (const size_t i = from.find(escape); i != std::string_view::npos) {
        out += to[i];
      } else {
        fail("an unknown escape");
      }
    }
  }

  size_t digits() {
    const size_t begin = at_;
    while (peek() >= '0' && peek() <= '9') at_++;
    return at_ - begin;
  }

  Json number() {
    const size_t begin = at_;
    bool whole = true;
    accept('-');
    if (accept('0')) {
      if (peek() >= '0' && peek() <= '9') fail("a number starts with 0");
    } else if (!digits()) {
      fail("a value is missing");
    }
    if (accept('.')) {
      whole = false;
      if (!digits()) fail("a number is cut off");
    }
    if (peek() == 'e' || peek() == 'E') {
      at_++;
      whole = false;
      if (!accept('+')) accept('-');
      if (!digits()) fail("a number is cut off");
    }
    const std::string token(text_.substr(begin, at_ - begin));
    if (int64_t integer = 0; whole) {
      const auto result = std::from_chars(token.data(), token.data() + token.size(), integer);
      if (result.ec == std::errc()) return integer;
    }
    // strtod, not from_chars: a number too small for a double is 0, not an error. No locale is ever
    // set.
    const double value = std::strtod(token.c_str(), nullptr);
    if (!std::isfinite(value)) fail("a number is not finite");
    return value;
  }

  std::string_view text_;
  size_t at_ = 0;
  size_t values_ = 0;
  size_t text_bytes_ = 0;
};

}  // namespace

std::optional<double> Json::number() const {
  if (const auto* value = std::get_if<int64_t>(&value_)) return static_cast<double>(*value);
  if (const auto* value = std::get_if<double>(&value_)) return *value;
  if (const auto* value = std::get_if<float>(&value_)) return *value;
  return std::nullopt;
}

const Json* Json::find(std::string_view name) const {
  if (const Object* members = object()) {
    for (const Member& member : *members) {
      if (member.first == name) return &member.second;
    }
  }
  return nullptr;
}

Json Json::parse(std::string_view text) { return Parser(text).document(); }

}  // namespace pockettune
