#include "module.h"

#include <algorithm>
#include <new>

namespace pockettune {
namespace {

constexpr size_t alignment = 64;

Error error_of(int result) {
  switch (result) {
    case POCKETTUNE_ARGUMENT:
    case POCKETTUNE_METHOD:
      return Error::invalid_argument;
    case POCKETTUNE_FILE:
      return Error::access_failed;
    case POCKETTUNE_SIZE:
      return Error::not_supported;
    case POCKETTUNE_MEMORY:
      return Error::memory_allocation_failed;
    default:
      return Error::internal;
  }
}

std::string to_string(const int64_t* shape, size_t rank) {
  std::string text = "[";
  for (size_t i = 0; i < rank; i++) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

}  // namespace

void check(int result, const std::string& what) {
  if (result != POCKETTUNE_OK)
    throw EngineFailure(error_of(result), what + ": " + pockettune_engine_error());
}

LoadedMethod::LoadedMethod(pockettune_method* method) : method_(method) {
  size_t count = 0;
  pockettune::check(pockettune_method_input_count(method, &count), "inputs");
  input_tensors_.resize(count);
  for (size_t i = 0; i < count; i++)
    pockettune::check(pockettune_method_input(method, i, &input_tensors_[i]), "input");
  pockettune::check(pockettune_method_output_count(method, &count), "outputs");
  output_tensors_.resize(count);
  for (size_t i = 0; i < count; i++) {
    pockettune_tensor& tensor = output_tensors_[i];
    pockettune::check(pockettune_method_output(method, i, &tensor), "output");
    const size_t bytes = (tensor.bytes + alignment - 1) / alignment * alignment;
    memory_.emplace_back(std::aligned_alloc(alignment, std::max(bytes, alignment)));
    if (!memory_.back()) throw std::bad_alloc();
    output_buffers_.push_back({memory_.back().get(), tensor.bytes});
  }
}

void LoadedMethod::check(const std::vector<Input>& inputs) const {
  if (inputs.size() != input_tensors_.size()) {
    throw EngineFailure(Error::invalid_argument,
                        "the method takes " + std::to_string(input_tensors_.size()) +
                            " inputs, not " + std::to_string(inputs.size()));
  }
  for (size_t i = 0; i < inputs.size(); i++) {
    const pockettune_tensor& wanted = input_tensors_[i];
    const Input& given = inputs[i];
    const std::string name = "input " + std::to_string(i);
    if (given.dtype != wanted.dtype)
      throw EngineFailure(Error::invalid_argument, name + " has another element type");
    const auto rank = static_cast<size_t>(wanted.rank);
    if (!std::equal(given.shape.begin(), given.shape.end(), wanted.shape, wanted.shape + rank)) {
      throw EngineFailure(Error::not_supported,
                          name + " has shape " + to_string(given.shape.data(), given.shape.size()) +
                              ", not " + to_string(wanted.shape, rank));
    }
  }
}

void LoadedMethod::run(const std::vector<Input>& inputs) {
  check(inputs);
  std::vector<pockettune_buffer> buffers;
  for (size_t i = 0; i < inputs.size(); i++)
    buffers.push_back({inputs[i].data, input_tensors_[i].bytes});
  pockettune::check(pockettune_method_run(method_.get(), buffers.data(), buffers.size(),
                                          output_buffers_.data(), output_buffers_.size()),
                    "the method failed");
}

Module::Module(const std::string& path) {
  pockettune_program* program = nullptr;
  pockettune::check(pockettune_program_open(path.c_str(), &program), "'" + path + "'");
  program_.reset(program);
}

std::vector<std::string> Module::method_names() const {
  size_t count = 0;
  pockettune::check(pockettune_program_method_count(program_.get(), &count), "methods");
  std::vector<std::string> names;
  for (size_t i = 0; i < count; i++) {
    const char* name = nullptr;
    pockettune::check(pockettune_program_method_name(program_.get(), i, &name), "method");
    names.emplace_back(name);
  }
  return names;
}

LoadedMethod& Module::method(const std::string& name) {
  const auto found = methods_.find(name);
  if (found != methods_.end()) return found->second;
  pockettune_method* method = nullptr;
  pockettune::check(pockettune_method_load(program_.get(), name.c_str(), &method),
                    "'" + name + "'");
  return methods_.emplace(name, LoadedMethod(method)).first->second;
}

}  // namespace pockettune
