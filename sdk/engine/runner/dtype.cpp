#include "dtype.h"

#include <array>
#include <bit>
#include <cmath>
#include <stdexcept>

namespace pockettune {
namespace {

struct Entry {
  std::string_view name;
  std::string_view safetensors;
  size_t bytes;
};
constexpr std::array<Entry, 6> entries{{{"float32", "F32", 4},
                                        {"float16", "F16", 2},
                                        {"int64", "I64", 8},
                                        {"int32", "I32", 4},
                                        {"uint8", "U8", 1},
                                        {"int8", "I8", 1}}};

const Entry& entry(DType dtype) { return entries[static_cast<size_t>(dtype)]; }

}  // namespace

size_t size_of(DType dtype) { return entry(dtype).bytes; }
std::string_view name_of(DType dtype) { return entry(dtype).name; }
std::string_view safetensors_name_of(DType dtype) { return entry(dtype).safetensors; }

std::optional<DType> dtype_named(std::string_view name) {
  for (size_t i = 0; i < entries.size(); i++) {
    if (entries[i].name == name) return static_cast<DType>(i);
  }
  return std::nullopt;
}

std::optional<DType> dtype_named_in_safetensors(std::string_view name) {
  for (size_t i = 0; i < entries.size(); i++) {
    if (entries[i].safetensors == name) return static_cast<DType>(i);
  }
  return std::nullopt;
}

std::optional<uint64_t> element_count(const Shape& shape) {
  constexpr uint64_t limit = uint64_t{1} << 62;
  uint64_t count = 1;
  for (const int64_t size : shape) {
    if (size < 0) return std::nullopt;
    if (size != 0 && count > limit / static_cast<uint64_t>(size)) return std::nullopt;
    count *= static_cast<uint64_t>(size);
  }
  return count;
}

std::string to_string(const Shape& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); i++) text += (i ? "," : "") + std::to_string(shape[i]);
  return text + "]";
}

bool fill_number(Buffer& buffer, DType dtype, double value) {
  if (dtype == DType::float32) {
    for (float& element : buffer.as<float>()) element = static_cast<float>(value);
    return true;
  }
  if (!(std::fabs(value) < 0x1p63)) return false;
  for (int64_t& element : buffer.as<int64_t>()) element = std::llround(value);
  return true;
}

uint16_t to_half(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
  const uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return static_cast<uint16_t>(sign | 0x7e00);  // NaN
  if (magnitude >= 0x47800000)
    return static_cast<uint16_t>(sign | 0x7c00);  // 65536 and up: infinity
  if (magnitude < 0x33000000) return sign;        // below half the least subnormal
  const int exponent = static_cast<int>(magnitude >> 23) - 127;
  const uint32_t mantissa = (magnitude & 0x7fffff) | 0x800000;
  // Bits that fall away: 13 for a normal half, more for a subnormal one.
  const int drop = exponent >= -14 ? 13 : 13 + (-14 - exponent);
  const uint32_t kept = mantissa >> drop;
  const uint32_t rest = mantissa & ((uint32_t{1} << drop) - 1);
  const uint32_t tie = uint32_t{1} << (drop - 1);
  const uint32_t rounded = kept + (rest > tie || (rest == tie && (kept & 1)));
  // A carry out of the mantissa raises the exponent, up to infinity, as it should.
  const uint32_t base = exponent >= -14 ? static_cast<uint32_t>(exponent + 14) << 10 : 0;
  return static_cast<uint16_t>(sign | (base + rounded));
}

float from_half(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
  const uint32_t exponent = half >> 10 & 0x1f;
  const uint32_t mantissa = half & 0x3ff;
  if (exponent == 0x1f) return std::bit_cast<float>(sign | 0x7f800000 | mantissa << 13);
  if (exponent) return std::bit_cast<float>(sign | (exponent + 112) << 23 | mantissa << 13);
  const float value = static_cast<float>(mantissa) * 0x1p-24f;
  return sign ? -value : value;
}

void convert(std::span<const std::byte> from, DType from_type, std::span<std::byte> to,
             DType to_type) {
  const size_t count = from.size() / size_of(from_type);
  if (count != to.size() / size_of(to_type)) throw std::invalid_argument("sizes differ");
  if (from_type == to_type) {
    std::memcpy(to.data(), from.data(), from.size());
  } else if (from_type == DType::float32 && to_type == DType::float16) {
    for (size_t i = 0; i < count; i++) {
      float value;
      std::memcpy(&value, from.data() + 4 * i, 4);
      const uint16_t half = to_half(value);
      std::memcpy(to.data() + 2 * i, &half, 2);
    }
  } else if (from_type == DType::float16 && to_type == DType::float32) {
    for (size_t i = 0; i < count; i++) {
      uint16_t half;
      std::memcpy(&half, from.data() + 2 * i, 2);
      const float value = from_half(half);
      std::memcpy(to.data() + 4 * i, &value, 4);
    }
  } else {
    throw std::invalid_argument("no conversion");
  }
}

}  // namespace pockettune
