// A client's examples (spec/runner.md, train): read when they are needed, in batches of a plan.
#pragma once
#include "executor.h"

namespace pockettune {

/// Who trains, and when: what makes the random numbers of a fleet's clients differ.
struct Identity {
  uint64_t seed = 0;
  uint64_t round = 0;
  uint64_t client = 0;

  Item item(int64_t step) const;
};

class Examples {
 public:
  /// Checks all of them. Raises tensor_mismatch, and data_invalid for a number that is not finite
  /// or a label that is no class.
  Examples(const SafetensorsFile& file, const Classification& task);

  int64_t count() const { return count_; }
  /// The class of an example.
  int64_t label(int64_t example) const { return labels_[static_cast<size_t>(example)]; }
  /// Puts those examples into a batch of the task's size; the first example fills the
  /// rest, where it weighs nothing.
  void fill(Batch& batch, std::span<const int64_t> chosen) const;

 private:
  const SafetensorsFile& file_;
  const Classification& task_;
  const SafetensorsEntry* inputs_ = nullptr;
  size_t row_bytes_ = 0;
  int64_t count_ = 0;
  std::vector<int64_t> labels_;
};

/// The order in which an epoch takes the examples: sorted by random words, equal ones by number.
std::vector<int64_t> epoch_order(const Identity& identity, int64_t epoch, int64_t examples);

/// The initial state for those programs' tensors, with the parameters of `file` when it is given.
State client_state(const Bundle& bundle, std::set<std::string> names,
                   const std::optional<Path>& file);

}  // namespace pockettune
