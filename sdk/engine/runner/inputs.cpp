#include "inputs.h"

namespace pockettune {
namespace {

[[noreturn]] void mismatch(const SafetensorsFile& file, std::string_view name,
                           const std::string& why) {
  throw Failure(code::tensor_mismatch,
                "tensor '" + std::string(name) + "' in '" + file.path().string() + "' " + why);
}

const SafetensorsEntry& entry_of(const SafetensorsFile& file, std::string_view name, size_t rank) {
  const SafetensorsEntry* entry = file.find(name);
  if (!entry) mismatch(file, name, "is missing: write it and try again");
  if (entry->shape.size() != rank) mismatch(file, name, "has shape " + to_string(entry->shape));
  return *entry;
}

}  // namespace

std::vector<std::vector<int64_t>> read_prompts(const SafetensorsFile& file, std::string_view name,
                                               int64_t rows, int64_t length) {
  const Shape shape = entry_of(file, name, 2).shape;
  const SafetensorsEntry& entry =
      file.require(name, DType::int64, {rows ? rows : shape[0], length});
  std::vector<std::vector<int64_t>> prompts;
  for (int64_t row = 0; row < shape[0]; row++) {
    std::vector<int64_t> ids(static_cast<size_t>(length));
    file.read(entry, std::as_writable_bytes(std::span(ids)),
              static_cast<uint64_t>(row) * ids.size() * sizeof(int64_t));
    prompts.push_back(std::move(ids));
  }
  return prompts;
}

uint64_t check_photos(const SafetensorsFile& file, int64_t height, int64_t width) {
  const Shape shape = entry_of(file, "pixels", 4).shape;
  const SafetensorsEntry& entry =
      file.require("pixels", DType::float32, {shape[0], 3, height, width});
  std::vector<float> row(static_cast<size_t>(width));
  for (uint64_t at = 0; at < entry.end - entry.begin; at += row.size() * sizeof(float)) {
    file.read(entry, std::as_writable_bytes(std::span(row)), at);
    for (const float value : row) {
      if (!(value >= -1.0f && value <= 1.0f))
        mismatch(file, "pixels", "holds a value that is not within [-1, 1]");
    }
  }
  return static_cast<uint64_t>(shape[0]);
}

void require_task(const Manifest& manifest, std::string_view task) {
  if (manifest.task != task) {
    throw Failure(code::config_invalid, "the bundle's task is '" + manifest.task +
                                            "': this command takes " + std::string(task) +
                                            " bundles");
  }
}

void require_text_to_image(const Manifest& manifest) { require_task(manifest, "text_to_image"); }

}  // namespace pockettune
