// Reading UTF-8, strictly.
#pragma once
#include <cstdint>
#include <optional>
#include <string_view>

namespace pockettune {

/// Decodes one code point at `at` and moves past it; nothing when the bytes are not UTF-8 (overlong
/// forms, surrogates and values above U+10FFFF included).
std::optional<uint32_t> next_code_point(std::string_view text, size_t& at);

}  // namespace pockettune
