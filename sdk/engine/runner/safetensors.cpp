#include "safetensors.h"

#include <algorithm>
#include <array>
#include <stdexcept>

#include "json.h"

namespace pockettune {
namespace {

[[noreturn]] void invalid(const Path& path, const std::string& why) {
  throw Failure(
      code::safetensors_invalid,
      "'" + path.string() + "' is not a valid safetensors file (" + why + "): write it again");
}

uint64_t offset_at(const Path& path, const Json& offsets, size_t index) {
  const int64_t* value = (*offsets.array())[index].integer();
  if (!value || *value < 0) invalid(path, "an offset is not a whole number");
  return static_cast<uint64_t>(*value);
}

SafetensorsEntry parse_entry(const Path& path, const std::string& name, const Json& value) {
  const Json* dtype = value.find("dtype");
  const Json* shape = value.find("shape");
  const Json* offsets = value.find("data_offsets");
  if (!dtype || !dtype->string() || !shape || !shape->array() || !offsets || !offsets->array() ||
      offsets->array()->size() != 2 || value.object()->size() != 3) {
    invalid(path, "the entry of '" + name + "' lacks a member");
  }
  const std::optional<DType> type = dtype_named_in_safetensors(*dtype->string());
  if (!type)
    invalid(path,
            "'" + name + "' has dtype " + *dtype->string() + ", not one of F32 F16 I64 I32 U8 I8");
  SafetensorsEntry entry{
      name, *type, {}, offset_at(path, *offsets, 0), offset_at(path, *offsets, 1)};
  for (const Json& size : *shape->array()) {
    if (!size.integer() || *size.integer() < 1 || *size.integer() > INT32_MAX)
      invalid(path, "the shape of '" + name + "' holds something else than 1 to 2^31 - 1");
    entry.shape.push_back(*size.integer());
  }
  if (entry.shape.size() > max_rank) invalid(path, "'" + name + "' has more than 8 dimensions");
  const std::optional<uint64_t> count = element_count(entry.shape);
  uint64_t bytes = 0;
  if (!count || __builtin_mul_overflow(*count, size_of(*type), &bytes) || entry.end < entry.begin ||
      entry.end - entry.begin != bytes) {
    invalid(path, "the offsets of '" + name + "' do not match its shape");
  }
  return entry;
}

}  // namespace

SafetensorsHeader parse_safetensors_header(std::string_view text, uint64_t data_bytes,
                                           const Path& path) {
  // Only spaces may follow the object, as in the format's own reference reader.
  const size_t last = text.find_last_not_of(' ');
  if (last == std::string_view::npos || text.front() != '{' || text[last] != '}') {
    invalid(path, "the header is no object with spaces after it");
  }
  Json json;
  try {
    json = Json::parse(text);
  } catch (const JsonError& error) {
    invalid(path, error.what());
  }
  SafetensorsHeader header;
  for (const auto& [name, value] : *json.object()) {
    if (name == "__metadata__") {
      if (!value.object()) invalid(path, "__metadata__ is no object");
      for (const auto& [key, content] : *value.object()) {
        if (!content.string()) invalid(path, "__metadata__ holds something else than text");
        header.metadata[key] = *content.string();
      }
      continue;
    }
    header.entries.push_back(parse_entry(path, name, value));
  }
  std::sort(header.entries.begin(), header.entries.end(), [](const auto& one, const auto& other) {
    return std::pair(one.begin, one.end) < std::pair(other.begin, other.end);
  });
  uint64_t expected = 0;
  for (const SafetensorsEntry& entry : header.entries) {
    if (entry.begin != expected) invalid(path, "'" + entry.name + "' leaves a hole or overlaps");
    expected = entry.end;
  }
  if (expected != data_bytes) invalid(path, "the tensors do not cover the data exactly");
  return header;
}

SafetensorsFile::SafetensorsFile(const Path& path) : file_(path) {
  if (file_.size() < 8) invalid(path, "it has fewer than 8 bytes");
  std::array<std::byte, 8> length_bytes;
  file_.read(0, length_bytes);
  uint64_t length = 0;
  for (size_t i = 0; i < 8; i++) length |= static_cast<uint64_t>(length_bytes[i]) << (8 * i);
  if (length > max_json_bytes || length > file_.size() - 8)
    invalid(path, "the header is longer than the file");
  std::string text(length, '\0');
  file_.read(8, std::as_writable_bytes(std::span(text)));
  data_begin_ = 8 + length;
  header_ = parse_safetensors_header(text, file_.size() - data_begin_, path);
}

const SafetensorsEntry* SafetensorsFile::find(std::string_view name) const {
  for (const SafetensorsEntry& entry : header_.entries) {
    if (entry.name == name) return &entry;
  }
  return nullptr;
}

const SafetensorsEntry& SafetensorsFile::require(std::string_view name, DType dtype,
                                                 const Shape& shape) const {
  const std::string wanted = std::string(name_of(dtype)) + " " + to_string(shape);
  const SafetensorsEntry* entry = find(name);
  if (!entry) {
    throw Failure(code::tensor_mismatch, "'" + path().string() + "' has no tensor '" +
                                             std::string(name) + "': it needs one, " + wanted);
  }
  if (entry->dtype != dtype || entry->shape != shape) {
    throw Failure(code::tensor_mismatch, "tensor '" + std::string(name) + "' in '" +
                                             path().string() + "' is " +
                                             std::string(name_of(entry->dtype)) + " " +
                                             to_string(entry->shape) + ": it must be " + wanted);
  }
  return *entry;
}

void SafetensorsFile::read(const SafetensorsEntry& entry, std::span<std::byte> into,
                           uint64_t offset) const {
  if (offset > entry.end - entry.begin || into.size() > entry.end - entry.begin - offset) {
    throw std::out_of_range("read past a tensor's end");
  }
  file_.read(data_begin_ + entry.begin + offset, into);
}

std::string safetensors_header(const std::vector<SafetensorsEntry>& entries,
                               const Metadata& metadata) {
  Json::Object members;
  if (!metadata.empty()) {
    Json::Object pairs;
    for (const auto& [key, value] : metadata) pairs.emplace_back(key, value);
    members.emplace_back("__metadata__", std::move(pairs));
  }
  for (const SafetensorsEntry& entry : entries) {
    Json::Array shape(entry.shape.begin(), entry.shape.end());
    members.emplace_back(
        entry.name,
        Json::Object{{"data_offsets", Json::Array{size_t{entry.begin}, size_t{entry.end}}},
                     {"dtype", safetensors_name_of(entry.dtype)},
                     {"shape", std::move(shape)}});
  }
  std::sort(members.begin(), members.end(),
            [](const auto& one, const auto& other) { return one.first < other.first; });
  std::string text = Json(std::move(members)).dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  std::string length(8, '\0');
  for (size_t i = 0; i < 8; i++) length[i] = static_cast<char>(text.size() >> (8 * i) & 0xff);
  return length + text;
}

void write_safetensors(const Path& path, const std::vector<TensorView>& tensors,
                       const Metadata& metadata) {
  std::vector<SafetensorsEntry> entries;
  uint64_t offset = 0;
  for (const TensorView& tensor : tensors) {
    entries.push_back(
        {tensor.name, tensor.dtype, tensor.shape, offset, offset + tensor.bytes.size()});
    offset = entries.back().end;
  }
  AtomicFile file(path);
  file.append(safetensors_header(entries, metadata));
  for (const TensorView& tensor : tensors) file.append(tensor.bytes);
  file.commit();
}

}  // namespace pockettune
