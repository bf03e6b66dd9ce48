#include "targets.h"

#include <algorithm>
#include <cstring>

#include "failure.h"
#include "manifest.h"
#include "safetensors.h"
#include "sha256.h"

namespace pockettune {

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
  try {
    parse_manifest(text);
  } catch (const Failure&) {
  }
}

void fuzz_safetensors(std::string_view bytes) {
  if (bytes.size() < 8) return;
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), 8);
  length = std::min<uint64_t>(length, bytes.size() - 8);
  try {
    parse_safetensors_header(bytes.substr(8, length), bytes.size() - 8 - length, "fuzzed");
  } catch (const Failure&) {
  }
}

}  // namespace pockettune
