#include "examples.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "random.h"

namespace pockettune {
namespace {

constexpr uint32_t order_stream = 49;

}  // namespace

Item Identity::item(int64_t step) const {
  Item item;
  item.step = static_cast<uint64_t>(step);
  item.round = round;
  item.client = client;
  return item;
}

Examples::Examples(const SafetensorsFile& file, const Classification& task)
    : file_(file), task_(task) {
  const SafetensorsEntry* labels = file.find("labels");
  if (!labels || labels->dtype != DType::int64 || labels->shape.size() != 1) {
    throw Failure(code::tensor_mismatch,
                  "'" + file.path().string() + "' has no int64 tensor 'labels' [n]");
  }
  count_ = labels->shape[0];
  Shape shape{count_};
  shape.insert(shape.end(), task.input_shape.begin(), task.input_shape.end());
  inputs_ = &file.require("inputs", DType::float32, shape);
  row_bytes_ = (inputs_->end - inputs_->begin) / static_cast<size_t>(count_);
  labels_.resize(static_cast<size_t>(count_));
  file.read(*labels, std::as_writable_bytes(std::span(labels_)));
  for (int64_t example = 0; example < count_; example++) {
    if (label(example) < 0 || label(example) >= task.classes) {
      throw Failure(code::data_invalid, "example " + std::to_string(example) + " has label " +
                                            std::to_string(label(example)) +
                                            ", and the bundle's classes are 0 to " +
                                            std::to_string(task.classes - 1));
    }
  }
  Buffer row(row_bytes_);
  for (int64_t example = 0; example < count_; example++) {
    file.read(*inputs_, row.bytes(), static_cast<uint64_t>(example) * row_bytes_);
    const std::span<const float> values = row.as<float>();
    if (!std::all_of(values.begin(), values.end(), [](float x) { return std::isfinite(x); })) {
      throw Failure(code::data_invalid, "example " + std::to_string(example) +
                                            " holds a number that is not finite: remove it");
    }
  }
}

void Examples::fill(Batch& batch, std::span<const int64_t> chosen) const {
  const auto size = static_cast<size_t>(task_.batch_size);
  if (batch.tensors.empty()) {
    batch.tensors["inputs"] = Buffer(row_bytes_ * size);
    batch.tensors["labels"] = Buffer(sizeof(int64_t) * size);
    batch.tensors["weights"] = Buffer(sizeof(float) * size);
  }
  const std::span<std::byte> inputs = batch.tensors["inputs"].bytes();
  for (size_t i = 0; i < size; i++) {
    const int64_t example = i < chosen.size() ? chosen[i] : 0;
    batch.tensors["labels"].as<int64_t>()[i] = label(example);
    batch.tensors["weights"].as<float>()[i] = i < chosen.size() ? 1.0f : 0.0f;
    file_.read(*inputs_, inputs.subspan(i * row_bytes_, row_bytes_),
               static_cast<uint64_t>(example) * row_bytes_);
  }
}

std::vector<int64_t> epoch_order(const Identity& identity, int64_t epoch, int64_t examples) {
  const uint64_t index = identity.item(epoch).index(Scope::step);
  const RandomKey key{identity.seed, order_stream, index};
  std::vector<uint32_t> words;
  for (uint32_t block = 0; words.size() < static_cast<size_t>(examples); block++) {
    for (const uint32_t word : random_words(key, block)) words.push_back(word);
  }
  std::vector<int64_t> order(static_cast<size_t>(examples));
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(), [&](int64_t left, int64_t right) {
    return words[static_cast<size_t>(left)] < words[static_cast<size_t>(right)];
  });
  return order;
}

State client_state(const Bundle& bundle, std::set<std::string> names,
                   const std::optional<Path>& file) {
  const Manifest& manifest = bundle.manifest();
  const std::string& parameters = manifest.classification->parameters;
  names.insert(parameters);
  State state(bundle, names);
  if (file) read_views(*file, manifest.tensors.at(parameters), state.writable(parameters));
  return state;
}

}  // namespace pockettune
