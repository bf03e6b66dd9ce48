// Writing a picture as an 8-bit RGB PNG.
#pragma once
#include <span>

#include "files.h"

namespace pockettune {

/// `image` is float32 [3, height, width] in [-1, 1]; a value becomes round_half_up((x + 1) *
/// 127.5), clamped.
void write_png(const Path& path, std::span<const float> image, uint32_t height, uint32_t width);

}  // namespace pockettune
