#include "manifest_reader.h"

#include <algorithm>

#include "failure.h"
#include "manifest.h"

namespace pockettune {

void invalid_manifest(const std::string& why) {
  throw Failure(code::bundle_manifest_invalid,
                "manifest.json is not valid: " + why + "; fetch or export the bundle again");
}

std::string shortened(std::string_view name) {
  constexpr size_t longest = 100;
  return std::string(name.substr(0, longest)) + (name.size() > longest ? "..." : "");
}

bool is_hex_digest(std::string_view text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

void Reader::fail(const std::string& why) const {
  invalid_manifest((path_.empty() ? std::string("the document") : path_.substr(1)) + " " + why);
}

Reader Reader::operator[](std::string_view name) const {
  members();
  const Json* value = value_.find(name);
  if (!value) Reader(value_, path_ + "." + std::string(name)).fail("is missing");
  return {*value, path_ + "." + std::string(name)};
}

const std::string& Reader::text() const {
  const std::string* text = value_.string();
  if (!text) fail("is not text");
  return *text;
}

const std::string& Reader::one_of(std::initializer_list<std::string_view> allowed) const {
  const std::string& value = text();
  if (std::find(allowed.begin(), allowed.end(), value) == allowed.end()) {
    std::string names;
    for (const std::string_view name : allowed) names += " " + std::string(name);
    fail("is '" + value + "', not one of" + names);
  }
  return value;
}

int64_t Reader::whole(int64_t low, int64_t high) const {
  const int64_t* value = value_.integer();
  if (!value) fail("is not a whole number");
  if (*value < low || *value > high) fail("is " + std::to_string(*value) + ", out of range");
  return *value;
}

uint64_t Reader::count() const { return static_cast<uint64_t>(whole(0, (int64_t{1} << 53) - 1)); }

int64_t Reader::positive() const { return whole(1, INT32_MAX); }

double Reader::number() const {
  const std::optional<double> value = value_.number();
  if (!value) fail("is not a number");
  return *value;
}

DType Reader::dtype() const {
  const std::optional<DType> dtype = dtype_named(text());
  if (!dtype) fail("is '" + text() + "', not one of float32 float16 int64 int32 uint8 int8");
  return *dtype;
}

Shape Reader::shape() const {
  Shape shape;
  each_value([&](const Reader& value) { shape.push_back(value.positive()); });
  if (shape.size() > 8) fail("has more than 8 dimensions");
  if (!element_count(shape)) fail("is too large");
  return shape;
}

Scope Reader::scope() const {
  const std::optional<Scope> scope = parse_scope(text());
  if (!scope) fail("is '" + text() + "', not one of prompt photo sample picture step round client");
  return *scope;
}

Scope Reader::cache_scope() const {
  const Scope found = scope();
  if (found > Scope::picture) fail("is '" + text() + "', which no cache is counted by");
  return found;
}

std::map<std::string, double> Reader::numbers() const {
  std::map<std::string, double> numbers;
  each_member(
      [&](const std::string& name, const Reader& value) { numbers[name] = value.number(); });
  return numbers;
}

const Json::Object& Reader::members() const {
  const Json::Object* members = value_.object();
  if (!members) fail("is no object");
  return *members;
}

const Json::Array& Reader::values() const {
  const Json::Array* values = value_.array();
  if (!values) fail("is no list");
  return *values;
}

void check_bytes(const Reader& reader, const Shape& shape, DType dtype) {
  if (*element_count(shape) > (uint64_t{1} << 40) / size_of(dtype))
    reader.fail("has more than 2^40 bytes");
}

}  // namespace pockettune
