// The writing half of Json: one line, ASCII only.
#include <charconv>
#include <cmath>
#include <cstdio>

#include "json.h"
#include "utf8.h"

namespace pockettune {
namespace {

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

}  // namespace pockettune
