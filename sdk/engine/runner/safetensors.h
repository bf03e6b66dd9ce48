// Safetensors, strictly (spec/bundle.md, 7). Data is read on demand, never mapped, so it counts as
// memory only while a buffer of ours holds it.
#pragma once
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "dtype.h"
#include "files.h"

namespace pockettune {

using Metadata = std::map<std::string, std::string>;

struct SafetensorsEntry {
  std::string name;
  DType dtype;
  Shape shape;
  uint64_t begin;  // bytes, from the start of the data section
  uint64_t end;
};

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;  // in the order of the data
  Metadata metadata;
};

/// The header's JSON text checked against `data_bytes` bytes of data. Raises safetensors_invalid;
/// `path` is for the message.
SafetensorsHeader parse_safetensors_header(std::string_view text, uint64_t data_bytes,
                                           const Path& path);

/// An open file whose header is checked.
class SafetensorsFile {
 public:
  /// Raises io_failed, safetensors_invalid.
  explicit SafetensorsFile(const Path& path);

  const Path& path() const { return file_.path(); }
  const FileStamp& stamp() const { return file_.stamp(); }
  const Metadata& metadata() const { return header_.metadata; }
  const std::vector<SafetensorsEntry>& entries() const { return header_.entries; }
  const SafetensorsEntry* find(std::string_view name) const;
  /// The tensor of that name; raises tensor_mismatch when it is missing or of another dtype or
  /// shape.
  const SafetensorsEntry& require(std::string_view name, DType dtype, const Shape& shape) const;
  /// Reads bytes of a tensor, from byte `offset` of it on.
  void read(const SafetensorsEntry& entry, std::span<std::byte> into, uint64_t offset = 0) const;
  /// SHA-256 of the data section.
  std::string data_sha256() const { return file_.sha256_from(data_begin_); }
  /// SHA-256 of the whole file.
  std::string file_sha256() const { return file_.sha256_from(0); }

 private:
  ReadFile file_;
  uint64_t data_begin_ = 0;
  SafetensorsHeader header_;
};

/// A tensor to be written; the bytes belong to the caller.
struct TensorView {
  std::string name;
  DType dtype;
  Shape shape;
  std::span<const std::byte> bytes;
};

/// Header length and header, padded to 8 bytes.
std::string safetensors_header(const std::vector<SafetensorsEntry>& entries,
                               const Metadata& metadata);
/// Writes the file atomically, the tensors in the order given.
void write_safetensors(const Path& path, const std::vector<TensorView>& tensors,
                       const Metadata& metadata);

}  // namespace pockettune
