// Strict JSON (spec/bundle.md, 1): duplicate keys, more than 32 levels, 2^16 values or 1 MiB of
// text, numbers that are not finite and bytes that are not UTF-8 are refused. Written here because
// the runtime's wheel ships no JSON library, and because general parsers accept duplicate keys.
#pragma once
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace pockettune {

/// Most bytes of a document that is read (spec/bundle.md, 1).
inline constexpr uint64_t max_json_bytes = uint64_t{16} << 20;

/// The text is not the JSON that the specification allows; what() says where and why.
struct JsonError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// A JSON value. Objects keep the order of the text. A float is written in its own shortest form,
/// not a double's.
class Json {
 public:
  using Array = std::vector<Json>;
  using Member = std::pair<std::string, Json>;
  using Object = std::vector<Member>;

  Json() = default;
  Json(std::nullptr_t) {}
  Json(bool value) : value_(value) {}
  Json(int value) : value_(static_cast<int64_t>(value)) {}
  Json(int64_t value) : value_(value) {}
  Json(size_t value) : value_(static_cast<int64_t>(value)) {}
  Json(double value) : value_(value) {}
  Json(float value) : value_(value) {}
  Json(const char* value) : value_(std::string(value)) {}
  Json(std::string_view value) : value_(std::string(value)) {}
  Json(std::string value) : value_(std::move(value)) {}
  Json(Array value) : value_(std::move(value)) {}
  Json(Object value) : value_(std::move(value)) {}

  bool is_null() const { return std::holds_alternative<std::nullptr_t>(value_); }
  /// The value as the type asked for, or null when it is of another type. An integer is no double
  /// here.
  const bool* boolean() const { return std::get_if<bool>(&value_); }
  const int64_t* integer() const { return std::get_if<int64_t>(&value_); }
  const std::string* string() const { return std::get_if<std::string>(&value_); }
  const Array* array() const { return std::get_if<Array>(&value_); }
  const Object* object() const { return std::get_if<Object>(&value_); }
  /// Any number as a double.
  std::optional<double> number() const;
  /// The member of that name, or null when there is none or this is no object.
  const Json* find(std::string_view name) const;

  /// One line, ASCII only, no spaces.
  std::string dump() const;

  /// Values and text are counted while they are read, so that no document takes more than twice its
  /// cap. Raises JsonError.
  static Json parse(std::string_view text);

 private:
  void write(std::string& out) const;
  std::variant<std::nullptr_t, bool, int64_t, double, float, std::string, Array, Object> value_ =
      nullptr;
};

}  // namespace pockettune
