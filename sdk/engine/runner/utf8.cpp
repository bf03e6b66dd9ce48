#include "utf8.h"

namespace pockettune {

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

}  // namespace pockettune
