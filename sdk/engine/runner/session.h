// A program of a bundle, loaded into the engine. The only place that touches the engine's C ABI.
#pragma once
#include <pockettune_engine.h>

#include <memory>
#include <span>
#include <vector>

#include "bundle.h"

namespace pockettune {

/// Loading and freeing is explicit, because the phases of a run must never be resident together.
class Session {
 public:
  /// Loads the program. Raises engine_failed, out_of_memory, tensor_mismatch when it differs from
  /// the manifest's description, and bundle_corrupt when its file is no longer the verified one.
  Session(const Bundle& bundle, const Program& program);

  /// Runs once, on memory of the caller's, in the manifest's order. Raises engine_failed,
  /// out_of_memory.
  void run(std::span<const pockettune_buffer> inputs, std::span<const pockettune_buffer> outputs);

  size_t arena_bytes() const;
  double load_seconds() const { return load_seconds_; }

 private:
  struct Close {
    void operator()(pockettune_program* program) const { pockettune_program_close(program); }
    void operator()(pockettune_method* method) const { pockettune_method_free(method); }
  };
  void check_arguments() const;

  const Program& description_;
  double load_seconds_ = 0;
  std::unique_ptr<pockettune_program, Close> program_;
  std::unique_ptr<pockettune_method, Close> method_;
};

/// Checks that the bundle fits this runtime, and sets the threads. Before any Session.
void start_engine(const Bundle& bundle, int threads);

inline pockettune_buffer engine_buffer(std::span<const std::byte> bytes) {
  return {const_cast<std::byte*>(bytes.data()), bytes.size()};
}

}  // namespace pockettune
