#include "targets.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "failure.h"
#include "manifest.h"
#include "safetensors.h"
#include "sha256.h"

namespace pockettune {
namespace {

/// Ends the process when a promise of a parser is broken, so that a fuzzer takes note.
void require(bool kept) {
  if (!kept) std::abort();
}

}  // namespace

void fuzz_manifest(std::string_view bytes) {
  constexpr size_t id_begin = 14;
  constexpr std::string_view mark = "\",";
  std::string text(bytes);
  const size_t signature = text.find("\"signature\":\"");
  const size_t rest = signature == std::string::npos ? signature : text.find(mark, signature + 13);
  if (rest != std::string::npos && text.size() >= id_begin + 64) {
    const std::string digest = sha256(as_bytes("{" + text.substr(rest + mark.size())));
    std::copy(digest.begin(), digest.end(), text.begin() + id_begin);
  }
  Manifest manifest;
  try {
    manifest = parse_manifest(text);
  } catch (const Failure&) {
    return;
  }
  for (const auto& [name, tensor] : manifest.tensors) {
    uint64_t covered = 0;
    for (const View& view : tensor.views) {
      require(view.offset == covered);
      covered += *element_count(view.shape);
    }
    require(tensor.bytes() <= uint64_t{1} << 40);
    require(tensor.views.empty() || covered * size_of(tensor.dtype) == tensor.bytes());
  }
  for (const auto& [name, file] : manifest.files) require(is_bundle_path(name));
  for (const auto& [name, program] : manifest.programs) require(!program.files.empty());
}

void fuzz_safetensors(std::string_view bytes) {
  if (bytes.size() < 8) return;
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), 8);
  length = std::min<uint64_t>(length, bytes.size() - 8);
  const uint64_t data_bytes = bytes.size() - 8 - length;
  SafetensorsHeader header;
  try {
    header = parse_safetensors_header(bytes.substr(8, length), data_bytes, "fuzzed");
  } catch (const Failure&) {
    return;
  }
  // What was accepted covers the data exactly, counted in twice as many bits as the parser has, and
  // reads the same when it is written again.
  unsigned __int128 covered = 0;
  for (const SafetensorsEntry& entry : header.entries) {
    unsigned __int128 size = size_of(entry.dtype);
    for (const int64_t dimension : entry.shape) {
      require(dimension >= 1 && dimension <= INT32_MAX);
      size *= static_cast<uint64_t>(dimension);
      require(size <= data_bytes);
    }
    require(entry.begin == covered && entry.end == covered + size);
    covered += size;
  }
  require(covered == data_bytes);
  const std::string written = safetensors_header(header.entries, header.metadata);
  const SafetensorsHeader again =
      parse_safetensors_header(std::string_view(written).substr(8), data_bytes, "written");
  require(again.metadata == header.metadata && again.entries.size() == header.entries.size());
}

}  // namespace pockettune
