// A program file with the methods that were loaded from it, as the official
// Module keeps them.
#pragma once
#include <cstdint>
#include <cstdlib>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "pockettune_engine.h"

namespace pockettune {

/// The official runtime's error numbers (ExecutorchRuntimeException).
enum class Error : int {
  ok = 0,
  internal = 1,
  not_supported = 16,
  invalid_argument = 18,
  memory_allocation_failed = 33,
  access_failed = 34,
};

class EngineFailure : public std::runtime_error {
 public:
  EngineFailure(Error error, const std::string& sentence)
      : std::runtime_error(sentence), error_(error) {}
  Error error() const { return error_; }

 private:
  Error error_;
};

/// What Java hands in: memory of its own, its element type and shape.
struct Input {
  void* data;
  int32_t dtype;
  std::vector<int64_t> shape;
};

/// A loaded method and the memory of its outputs, which stays where it is until
/// the method goes.
class LoadedMethod {
 public:
  explicit LoadedMethod(pockettune_method* method);

  /// Runs once; the outputs' bytes are valid until the next run. Raises
  /// EngineFailure.
  void run(const std::vector<Input>& inputs);
  const std::vector<pockettune_tensor>& outputs() const { return output_tensors_; }
  void* output_data(size_t index) const { return output_buffers_[index].data; }

 private:
  void check(const std::vector<Input>& inputs) const;

  struct Free {
    void operator()(void* pointer) const { std::free(pointer); }
    void operator()(pockettune_method* method) const { pockettune_method_free(method); }
  };
  std::vector<std::unique_ptr<void, Free>> memory_;
  std::vector<pockettune_tensor> input_tensors_;
  std::vector<pockettune_tensor> output_tensors_;
  std::vector<pockettune_buffer> output_buffers_;
  std::unique_ptr<pockettune_method, Free> method_;
};

class Module {
 public:
  /// Raises EngineFailure when the file cannot be opened or is no program.
  explicit Module(const std::string& path);

  std::vector<std::string> method_names() const;
  /// Loads the method unless that was done before. Raises EngineFailure.
  LoadedMethod& method(const std::string& name);

 private:
  struct Close {
    void operator()(pockettune_program* program) const { pockettune_program_close(program); }
  };
  // In the order of construction: the methods go before the program they came
  // from.
  std::unique_ptr<pockettune_program, Close> program_;
  std::map<std::string, LoadedMethod> methods_;
};

/// Raises EngineFailure unless a call of the engine succeeded.
void check(int result, const std::string& what);

}  // namespace pockettune
