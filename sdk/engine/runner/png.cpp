#include "png.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>

namespace pockettune {
namespace {

void append_big_endian(std::string& out, uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(value >> shift & 0xff);
}

uint32_t crc32(std::string_view bytes) {
  static const std::array<uint32_t, 256> table = [] {
    std::array<uint32_t, 256> values{};
    for (uint32_t i = 0; i < 256; i++) {
      uint32_t value = i;
      for (int bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320u ^ value >> 1 : value >> 1;
      values[i] = value;
    }
    return values;
  }();
  uint32_t crc = 0xffffffff;
  for (const char byte : bytes) crc = table[(crc ^ static_cast<uint8_t>(byte)) & 0xff] ^ crc >> 8;
  return ~crc;
}

uint32_t adler32(std::string_view bytes) {
  uint32_t low = 1;
  uint32_t high = 0;
  for (const char byte : bytes) {
    low = (low + static_cast<uint8_t>(byte)) % 65521;
    high = (high + low) % 65521;
  }
  return high << 16 | low;
}

void append_chunk(std::string& out, std::string_view type, std::string_view data) {
  append_big_endian(out, static_cast<uint32_t>(data.size()));
  const std::string body = std::string(type) + std::string(data);
  out += body;
  append_big_endian(out, crc32(body));
}

/// A zlib stream of stored blocks: a compressor would be a dependency or 500 lines, and people
/// recode pictures anyway.
std::string stored_zlib(std::string_view data) {
  std::string out = "\x78\x01";
  size_t at = 0;
  do {
    const size_t size = std::min<size_t>(65535, data.size() - at);
    out += static_cast<char>(at + size == data.size());
    for (const size_t value : {size, ~size}) {
      out += static_cast<char>(value & 0xff);
      out += static_cast<char>(value >> 8 & 0xff);
    }
    out += data.substr(at, size);
    at += size;
  } while (at < data.size());
  append_big_endian(out, adler32(data));
  return out;
}

char to_byte(float value) {
  const double scaled = std::floor((static_cast<double>(value) + 1.0) * 127.5 + 0.5);
  // Written so that NaN becomes 0 as well.
  return static_cast<char>(static_cast<uint8_t>(scaled > 0.0 ? std::min(scaled, 255.0) : 0.0));
}

}  // namespace

void write_png(const Path& path, std::span<const float> image, uint32_t height, uint32_t width) {
  const size_t plane = size_t{height} * width;
  std::string rows;
  rows.reserve(height * (size_t{width} * 3 + 1));
  for (size_t y = 0; y < height; y++) {
    rows += '\0';  // no filter
    for (size_t x = 0; x < width; x++) {
      for (size_t channel = 0; channel < 3; channel++)
        rows += to_byte(image[channel * plane + y * width + x]);
    }
  }
  std::string header;
  append_big_endian(header, width);
  append_big_endian(header, height);
  header += std::string("\x08\x02\x00\x00\x00", 5);  // 8 bits, RGB
  std::string file = "\x89PNG\r\n\x1a\n";
  append_chunk(file, "IHDR", header);
  append_chunk(file, "IDAT", stored_zlib(rows));
  append_chunk(file, "IEND", "");
  write_file(path, file);
}

}  // namespace pockettune
