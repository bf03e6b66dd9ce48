// Element types of spec/bundle.md 3, aligned memory, and float16 storage.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace pockettune {

enum class DType { float32, float16, int64, int32, uint8, int8 };

/// Bytes of one element.
size_t size_of(DType dtype);
/// The name in a manifest ("float32") and in safetensors ("F32"), and back.
std::string_view name_of(DType dtype);
std::string_view safetensors_name_of(DType dtype);
std::optional<DType> dtype_named(std::string_view name);
std::optional<DType> dtype_named_in_safetensors(std::string_view name);

using Shape = std::vector<int64_t>;
/// The most dimensions that a shape has.
inline constexpr size_t max_rank = 8;

/// Elements of a shape, or nothing when a dimension is negative or the product does not fit 2^62.
std::optional<uint64_t> element_count(const Shape& shape);
/// Like "[1,3,64,64]".
std::string to_string(const Shape& shape);

/// Memory that an engine accepts: 64-byte aligned, zeroed, of a fixed size.
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(size_t bytes) : bytes_(bytes) {
    const size_t rounded = (bytes + 63) / 64 * 64;
    data_.reset(static_cast<std::byte*>(std::aligned_alloc(64, rounded ? rounded : 64)));
    if (!data_) throw std::bad_alloc();
    std::memset(data_.get(), 0, rounded);
  }
  std::span<std::byte> bytes() { return {data_.get(), bytes_}; }
  std::span<const std::byte> bytes() const { return {data_.get(), bytes_}; }
  size_t size() const { return bytes_; }
  template <class Element>
  std::span<Element> as() {
    return {reinterpret_cast<Element*>(data_.get()), bytes_ / sizeof(Element)};
  }
  template <class Element>
  std::span<const Element> as() const {
    return {reinterpret_cast<const Element*>(data_.get()), bytes_ / sizeof(Element)};
  }

 private:
  struct Free {
    void operator()(std::byte* pointer) const { std::free(pointer); }
  };
  std::unique_ptr<std::byte, Free> data_;
  size_t bytes_ = 0;
};

/// Fills a buffer of float32 or int64 with a number, rounded to the nearest whole one for int64.
/// False, and nothing done, when it does not fit an int64.
bool fill_number(Buffer& buffer, DType dtype, double value);

/// IEEE 754 binary16, rounding to nearest, ties to even.
uint16_t to_half(float value);
float from_half(uint16_t half);

/// Copies `from` to `to` and converts between float32 and float16; equal types are copied. Raises
/// std::invalid_argument for any other pair.
void convert(std::span<const std::byte> from, DType from_type, std::span<std::byte> to,
             DType to_type);

}  // namespace pockettune
