#include "state.h"

namespace pockettune {
namespace {

const StateTensor& adapter_tensor(const Bundle& bundle) {
  return bundle.manifest().tensors.at(bundle.manifest().adapter);
}

}  // namespace

Buffer initial_value(const Bundle& bundle, const std::string& name) {
  const StateTensor& tensor = bundle.manifest().tensors.at(name);
  if (!tensor.file) return Buffer(tensor.bytes());
  const SafetensorsFile file = bundle.tensors(*tensor.file);
  const SafetensorsEntry& entry = file.require(name, tensor.dtype, tensor.shape);
  Buffer buffer(tensor.bytes());
  file.read(entry, buffer.bytes());
  return buffer;
}

State::State(const Bundle& bundle, const std::set<std::string>& names) {
  for (const std::string& name : names) tensors_[name].now = initial_value(bundle, name);
}

std::span<std::byte> State::next(const std::string& name) {
  Pair& pair = tensors_.at(name);
  if (pair.next.size() == 0) pair.next = Buffer(pair.now.size());
  return pair.next.bytes();
}

void State::swap(const std::string& name) {
  Pair& pair = tensors_.at(name);
  std::swap(pair.now, pair.next);
}

std::vector<TensorView> State::views(const Bundle& bundle) const {
  std::vector<TensorView> views;
  for (const auto& [name, pair] : tensors_) {
    const StateTensor& tensor = bundle.manifest().tensors.at(name);
    views.push_back({name, tensor.dtype, tensor.shape, pair.now.bytes()});
  }
  return views;
}

std::set<std::string> state_of(const Program& program) {
  std::set<std::string> names;
  for (const std::vector<Argument>* arguments : {&program.inputs, &program.outputs}) {
    for (const Argument& argument : *arguments) {
      if (argument.binding.kind == BindingKind::state) names.insert(argument.binding.name);
    }
  }
  return names;
}

void write_views(const Path& path, const StateTensor& tensor, std::span<const std::byte> pack,
                 const Metadata& metadata) {
  std::vector<TensorView> tensors;
  for (const View& view : tensor.views) {
    tensors.push_back(
        {view.name, DType::float32, view.shape,
         pack.subspan(view.offset * sizeof(float), *element_count(view.shape) * sizeof(float))});
  }
  write_safetensors(path, tensors, metadata);
}

void read_views(const Path& path, const StateTensor& tensor, std::span<std::byte> pack) {
  const SafetensorsFile file(path);
  const std::vector<View>& views = tensor.views;
  for (const View& view : views) {
    const SafetensorsEntry* half = file.find(view.name);
    const DType dtype = half && half->dtype == DType::float16 ? DType::float16 : DType::float32;
    const SafetensorsEntry& entry = file.require(view.name, dtype, view.shape);
    Buffer stored(entry.end - entry.begin);
    file.read(entry, stored.bytes());
    convert(stored.bytes(), dtype,
            pack.subspan(view.offset * sizeof(float), *element_count(view.shape) * sizeof(float)),
            DType::float32);
  }
  if (file.entries().size() != views.size()) {
    throw Failure(code::tensor_mismatch,
                  "the file '" + path.string() + "' has " + std::to_string(file.entries().size()) +
                      " tensors, the bundle takes " + std::to_string(views.size()) +
                      ": use one made with this bundle");
  }
}

void write_adapter(const Path& path, const Bundle& bundle, std::span<const std::byte> pack) {
  write_views(path, adapter_tensor(bundle), pack, bundle.manifest().adapter_metadata);
}

void read_adapter(const Path& path, const Bundle& bundle, std::span<std::byte> pack) {
  read_views(path, adapter_tensor(bundle), pack);
}

}  // namespace pockettune
