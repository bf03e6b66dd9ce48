// Typed access to the manifest's JSON, with the member's path in every message.
#pragma once
#include <initializer_list>
#include <map>
#include <string>
#include <string_view>

#include "binding.h"
#include "json.h"

namespace pockettune {

struct Manifest;

/// Raises bundle_manifest_invalid.
[[noreturn]] void invalid_manifest(const std::string& why);

/// A name out of a file for a message: names may be long, and each may have thousands of members.
std::string shortened(std::string_view name);

bool is_hex_digest(std::string_view text);

/// A member of the manifest. Every accessor raises bundle_manifest_invalid when the member is of
/// another kind.
class Reader {
 public:
  Reader(const Json& value, std::string path) : value_(value), path_(std::move(path)) {}

  [[noreturn]] void fail(const std::string& why) const;
  Reader operator[](std::string_view name) const;
  bool has(std::string_view name) const { return value_.find(name) != nullptr; }
  bool is_null() const { return value_.is_null(); }
  const std::string& text() const;
  const std::string& one_of(std::initializer_list<std::string_view> allowed) const;
  int64_t whole(int64_t low, int64_t high) const;
  /// 0 to 2^53 - 1.
  uint64_t count() const;
  /// 1 to 2^31 - 1.
  int64_t positive() const;
  double number() const;
  DType dtype() const;
  Shape shape() const;
  Scope scope() const;
  /// A scope that a cache may have.
  Scope cache_scope() const;
  std::map<std::string, double> numbers() const;
  const Json::Object& members() const;

  template <class Use>
  void each_member(Use&& use) const {
    for (const auto& [name, value] : members())
      use(name, Reader(value, path_ + "." + shortened(name)));
  }
  template <class Use>
  void each_value(Use&& use) const {
    size_t index = 0;
    for (const Json& value : values())
      use(Reader(value, path_ + "[" + std::to_string(index++) + "]"));
  }

 private:
  const Json::Array& values() const;
  const Json& value_;
  std::string path_;
};

/// Raises when a tensor has more than 2^40 bytes.
void check_bytes(const Reader& reader, const Shape& shape, DType dtype);

/// Raises bundle_path_invalid for a file name that is not allowed.
void check_file_names(const Manifest& manifest);

/// Raises when a name in the manifest names nothing, or two descriptions of one thing differ.
void check_references(const Manifest& manifest);

}  // namespace pockettune
