// The files of photos and tokenized prompts that a person's command writes (spec/runner.md,
// Inputs).
#pragma once
#include "executor.h"

namespace pockettune {

/// All rows of an int64 tensor [rows, length]. Raises tensor_mismatch when it is missing or its
/// shape differs; `rows` 0 stands for any number from 1 up.
std::vector<std::vector<int64_t>> read_prompts(const SafetensorsFile& file, std::string_view name,
                                               int64_t rows, int64_t length);

/// The number of photos; checks that "pixels" is float32 [n, 3, height, width] within [-1, 1].
/// Raises tensor_mismatch.
uint64_t check_photos(const SafetensorsFile& file, int64_t height, int64_t width);

/// Refuses a bundle of another task than `task`: config_invalid.
void require_task(const Manifest& manifest, std::string_view task);
/// Refuses a bundle of another task than text_to_image: config_invalid.
void require_text_to_image(const Manifest& manifest);

}  // namespace pockettune
