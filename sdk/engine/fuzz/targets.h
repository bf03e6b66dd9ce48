// What is fuzzed: each takes any bytes and must return; a refusal is fine.
#pragma once
#include <string_view>

namespace pockettune {

/// parse_manifest, with the identifier made right first, so that mutations reach the parser behind
/// the hash.
void fuzz_manifest(std::string_view bytes);
/// The whole of a safetensors file: header length, header, data size.
void fuzz_safetensors(std::string_view bytes);

}  // namespace pockettune
