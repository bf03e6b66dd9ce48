// The training state: every tensor twice, since an engine takes one buffer and fills another
// (spec/bundle.md, 3).
#pragma once
#include <set>

#include "bundle.h"
#include "safetensors.h"

namespace pockettune {

class State {
 public:
  /// The initial values of the tensors named. Raises tensor_mismatch, safetensors_invalid,
  /// io_failed.
  State(const Bundle& bundle, const std::set<std::string>& names);

  std::span<const std::byte> now(const std::string& name) const {
    return tensors_.at(name).now.bytes();
  }
  std::span<std::byte> writable(const std::string& name) { return tensors_.at(name).now.bytes(); }
  /// Where a program writes the new value; swap() makes it the current one.
  std::span<std::byte> next(const std::string& name);
  void swap(const std::string& name);

  /// All tensors by name, in that order.
  std::vector<TensorView> views(const Bundle& bundle) const;

 private:
  struct Pair {
    Buffer now;
    Buffer next;
  };
  Named<Pair> tensors_;
};

/// Names of the state tensors that a program reads or writes.
std::set<std::string> state_of(const Program& program);
/// The initial value of one tensor.
Buffer initial_value(const Bundle& bundle, const std::string& name);

/// Writes a pack's named tensors to a file of their own.
void write_views(const Path& path, const StateTensor& tensor, std::span<const std::byte> pack,
                 const Metadata& metadata);
/// Reads such a file (float32 or float16) into the pack. Raises tensor_mismatch when its tensors
/// are not exactly the pack's.
void read_views(const Path& path, const StateTensor& tensor, std::span<std::byte> pack);

/// The adapter file (spec/bundle.md, 6) of the flat pack.
void write_adapter(const Path& path, const Bundle& bundle, std::span<const std::byte> pack);
void read_adapter(const Path& path, const Bundle& bundle, std::span<std::byte> pack);

}  // namespace pockettune
