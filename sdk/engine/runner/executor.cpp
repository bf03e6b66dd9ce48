#include "executor.h"

#include <stdexcept>

#include "random.h"

namespace pockettune {
namespace {

[[noreturn]] void no_source(const Program& program, const Argument& argument,
                            const std::string& why) {
  throw Failure(code::bundle_manifest_invalid, "program '" + program.name + "' has '" +
                                                   argument.name + "': " + why +
                                                   "; export the bundle again");
}

}  // namespace

uint64_t Item::index(Scope scope) const {
  switch (scope) {
    case Scope::prompt:
      return prompt;
    case Scope::photo:
      return photo;
    case Scope::sample:
      return sample;
    case Scope::picture:
      return picture;
    case Scope::step:
      return (((round << 24) + client) << 20) + step;
    case Scope::round:
      return round;
    case Scope::client:
      return client;
  }
  throw std::logic_error("a scope without an index");
}

Executor::Executor(const Bundle& bundle, const Program& program, const Feed& feed)
    : bundle_(bundle),
      program_(program),
      feed_(feed),
      session_(bundle, program),
      inputs_(make_slots(bundle, program.inputs)),
      outputs_(make_slots(bundle, program.outputs)) {}

std::vector<Executor::Slot> Executor::make_slots(const Bundle& bundle,
                                                 const std::vector<Argument>& arguments) {
  std::vector<Slot> slots;
  for (const Argument& argument : arguments) {
    Slot slot{&argument, {}, {}};
    if (argument.binding.kind != BindingKind::state) slot.value = Buffer(argument.bytes());
    if (argument.binding.kind == BindingKind::cache) {
      const Cache& cache = bundle.manifest().caches.at(argument.binding.name);
      if (cache.stored != cache.dtype) slot.stored = Buffer(cache.stored_bytes());
    }
    slots.push_back(std::move(slot));
  }
  return slots;
}

void Executor::fill_batch(Slot& slot, const Item& item) {
  const Argument& argument = *slot.argument;
  const std::string& name = argument.binding.name;
  const auto given = feed_.batch.tensors.find(name);
  if (given != feed_.batch.tensors.end()) {
    if (given->second.size() != slot.value.size())
      no_source(program_, argument, "it takes a batch of another size");
    std::memcpy(slot.value.bytes().data(), given->second.bytes().data(), slot.value.size());
  } else if (name == "input_ids" && argument.dtype == DType::int64) {
    const std::vector<int64_t>& ids = feed_.batch.prompts.at(item.prompt);
    if (ids.size() * sizeof(int64_t) != slot.value.size())
      no_source(program_, argument, "it takes prompts of another length");
    std::copy(ids.begin(), ids.end(), slot.value.as<int64_t>().begin());
  } else if (name == "weight" && argument.dtype == DType::float32) {
    fill_number(slot.value, argument.dtype, item.weight);
  } else if (name == "pixels" && argument.dtype == DType::float32 && feed_.batch.photos) {
    const SafetensorsEntry& pixels = *feed_.batch.photos->find("pixels");
    const Shape one_photo{1, pixels.shape.at(1), pixels.shape.at(2), pixels.shape.at(3)};
    if (argument.shape != one_photo)
      no_source(program_, argument,
                "it takes photos of another shape than " + to_string(one_photo));
    if (item.photo >= static_cast<uint64_t>(pixels.shape[0])) {
      throw Failure(code::config_invalid, "program '" + program_.name +
                                              "' needs the pixels of every photo, and class "
                                              "pictures have none: train without --prior-weight");
    }
    feed_.batch.photos->read(pixels, slot.value.bytes(), item.photo * slot.value.size());
  } else {
    no_source(program_, argument, "nothing is known about batch." + name);
  }
}

void Executor::fill_hyper(Slot& slot, const Item& item) {
  const Argument& argument = *slot.argument;
  const std::string& name = argument.binding.name;
  const auto given = feed_.hyper.find(name);
  double value = 0;
  if (name == "timestep") {
    value = static_cast<double>(item.timestep.now);
  } else if (name == "previous_timestep") {
    value = static_cast<double>(item.timestep.previous);
  } else if (given != feed_.hyper.end()) {
    value = given->second;
  } else {
    no_source(program_, argument, "hyper." + name + " has no value");
  }
  if (!fill_number(slot.value, argument.dtype, value))
    no_source(program_, argument, "hyper." + name + " does not fit an int64");
}

void Executor::fill(Slot& slot, const Item& item) {
  const Argument& argument = *slot.argument;
  const RandomKey key{feed_.seed, argument.stream, item.index(argument.index)};
  switch (argument.binding.kind) {
    case BindingKind::batch:
      return fill_batch(slot, item);
    case BindingKind::hyper:
      return fill_hyper(slot, item);
    case BindingKind::random_normal:
      return random_normal(key, slot.value.as<float>());
    case BindingKind::random_uniform:
      return random_uniform(key, slot.value.as<float>());
    case BindingKind::random_integer:
      return random_integer(key, argument.low, argument.high, slot.value.as<int64_t>());
    case BindingKind::cache: {
      const Cache& cache = bundle_.manifest().caches.at(argument.binding.name);
      const uint64_t index = argument.unconditional ? item.unconditional : item.index(cache.scope);
      if (slot.stored.size() == 0)
        return feed_.caches.read(argument.binding.name, index, slot.value.bytes());
      feed_.caches.read(argument.binding.name, index, slot.stored.bytes());
      return convert(slot.stored.bytes(), cache.stored, slot.value.bytes(), cache.dtype);
    }
    default:
      return;  // a state tensor is used in place
  }
}

void Executor::keep(Slot& slot, const Item& item) {
  const Binding& binding = slot.argument->binding;
  if (binding.kind == BindingKind::state) return feed_.state.swap(binding.name);
  if (binding.kind != BindingKind::cache) return;
  const Cache& cache = bundle_.manifest().caches.at(binding.name);
  const uint64_t index = item.index(cache.scope);
  if (slot.stored.size() == 0) return feed_.caches.write(binding.name, index, slot.value.bytes());
  convert(slot.value.bytes(), cache.dtype, slot.stored.bytes(), cache.stored);
  feed_.caches.write(binding.name, index, slot.stored.bytes());
}

void Executor::run(const Item& item) {
  std::vector<pockettune_buffer> inputs;
  std::vector<pockettune_buffer> outputs;
  for (Slot& slot : inputs_) {
    fill(slot, item);
    const Binding& binding = slot.argument->binding;
    inputs.push_back(engine_buffer(
        binding.kind == BindingKind::state ? feed_.state.now(binding.name) : slot.value.bytes()));
  }
  for (Slot& slot : outputs_) {
    const Binding& binding = slot.argument->binding;
    outputs.push_back(engine_buffer(
        binding.kind == BindingKind::state ? feed_.state.next(binding.name) : slot.value.bytes()));
  }
  session_.run(inputs, outputs);
  for (Slot& slot : outputs_) keep(slot, item);
}

const Executor::Slot& Executor::output_of(BindingKind kind) const {
  for (const Slot& slot : outputs_) {
    if (slot.argument->binding.kind == kind) return slot;
  }
  throw Failure(code::bundle_manifest_invalid,
                "program '" + program_.name +
                    "' lacks an output that its task needs: export the bundle again");
}

float Executor::loss() const { return output_of(BindingKind::loss).value.as<float>()[0]; }

float Executor::metric(std::string_view name) const {
  for (const Slot& slot : outputs_) {
    const Binding& binding = slot.argument->binding;
    if (binding.kind == BindingKind::metric && binding.name == name)
      return slot.value.as<float>()[0];
  }
  throw Failure(code::bundle_manifest_invalid, "program '" + program_.name + "' lacks metric." +
                                                   std::string(name) + ": export the bundle again");
}

std::span<const float> Executor::output() const {
  const Slot& slot = output_of(BindingKind::output);
  if (slot.argument->dtype != DType::float32)
    no_source(program_, *slot.argument, "a result must be float32");
  return slot.value.as<float>();
}

}  // namespace pockettune
