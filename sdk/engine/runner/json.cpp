#include "json.h"

#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <unordered_set>

namespace pockettune {
namespace {

constexpr int max_depth = 32;

/// Decodes one code point at `at` and moves past it; nothing when the bytes are not UTF-8 (overlong
/// forms, surrogates and values above U+10FFFF included).
std::optional<uint32_t> next_code_point(std::string_view text, size_t& at) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t first = byte(at);
  if (first < 0x80) {
    at++;
    return first;
  }
  int extra = 0;
  uint32_t value = 0;
  uint32_t lowest = 0;
  if ((first & 0xe0) == 0xc0) {
    extra = 1, value = first & 0x1fu, lowest = 0x80;
  } else if ((first & 0xf0) == 0xe0) {
    extra = 2, value = first & 0x0fu, lowest = 0x800;
  } else if ((first & 0xf8) == 0xf0) {
    extra = 3, value = first & 0x07u, lowest = 0x10000;
  } else {
    return std::nullopt;
  }
  if (text.size() - at < static_cast<size_t>(extra) + 1) return std::nullopt;
  for (int i = 1; i <= extra; i++) {
    const uint8_t next = byte(at + static_cast<size_t>(i));
    if ((next & 0xc0) != 0x80) return std::nullopt;
    value = value << 6 | (next & 0x3fu);
  }
  if (value < lowest || value > 0x10ffff || (value >= 0xd800 && value < 0xe000))
    return std::nullopt;
  at += static_cast<size_t>(extra) + 1;
  return value;
}

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
    std::string out;
    while (true) {
      if (at_ >= text_.size()) fail("a string is cut off");
      const char c = text_[at_];
      if (static_cast<uint8_t>(c) < 0x20) fail("a control character in a string");
      at_++;
      if (c == '"') return out;
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
};

void write_string(std::string& out, std::string_view text) {
  out += '"';
  for (size_t at = 0; at < text.size();) {
    const std::optional<uint32_t> decoded = next_code_point(text, at);
    if (!decoded) at++;
    const uint32_t value = decoded.value_or(0xfffd);
    char escape[16];
    if (value == '"' || value == '\\') {
      out += '\\';
      out += static_cast<char>(value);
    } else if (value >= 0x20 && value < 0x7f) {
      out += static_cast<char>(value);
    } else if (value < 0x10000) {
      std::snprintf(escape, sizeof escape, "\\u%04x", value);
      out += escape;
    } else {
      std::snprintf(escape, sizeof escape, "\\u%04x\\u%04x", 0xd800 + ((value - 0x10000) >> 10),
                    0xdc00 + ((value - 0x10000) & 0x3ff));
      out += escape;
    }
  }
  out += '"';
}

template <class Number>
void write_number(std::string& out, Number value) {
  char text[40];
  const auto result = std::to_chars(text, text + sizeof text, value);
  out.append(text, result.ptr);
}

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

void Json::write(std::string& out) const {
  if (const auto* flag = boolean()) {
    out += *flag ? "true" : "false";
  } else if (const auto* whole = integer()) {
    write_number(out, *whole);
  } else if (const auto* single = std::get_if<float>(&value_); single && std::isfinite(*single)) {
    write_number(out, *single);
  } else if (const auto* real = std::get_if<double>(&value_); real && std::isfinite(*real)) {
    write_number(out, *real);
  } else if (const auto* text = string()) {
    write_string(out, *text);
  } else if (const auto* values = array()) {
    out += '[';
    for (size_t i = 0; i < values->size(); i++) {
      if (i) out += ',';
      (*values)[i].write(out);
    }
    out += ']';
  } else if (const auto* members = object()) {
    out += '{';
    for (size_t i = 0; i < members->size(); i++) {
      if (i) out += ',';
      write_string(out, (*members)[i].first);
      out += ':';
      (*members)[i].second.write(out);
    }
    out += '}';
  } else {
    out += "null";
  }
}

std::string Json::dump() const {
  std::string out;
  write(out);
  return out;
}

Json Json::parse(std::string_view text) { return Parser(text).document(); }

}  // namespace pockettune
