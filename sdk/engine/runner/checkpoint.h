// Saved training states: written whole or not at all, and found again (spec/runner.md, personalize
// 3).
#pragma once
#include "state.h"

namespace pockettune {

/// The states of one work folder.
class Checkpoints {
 public:
  /// `identity` is everything that the result depends on; `losses` has a place for every step.
  Checkpoints(const Bundle& bundle, const Path& work, Metadata identity);

  /// Writes the state after `step` steps, reads it back, then removes older ones.
  void save(const State& state, std::span<const float> losses, int64_t step) const;
  /// Loads the newest whole state into `state` and `losses`; gives its step, 0 when there is none.
  /// Damaged files are passed over, since training again gives the same bytes; older ones are
  /// removed. Raises state_mismatch for one of another run, tensor_mismatch for one with other
  /// tensors.
  int64_t load(State& state, std::span<float> losses) const;

 private:
  std::vector<std::pair<int64_t, Path>> files() const;
  /// Only after that step's state was read and found whole.
  void remove_states_before(int64_t step) const;
  Path path(int64_t step) const;

  const Bundle& bundle_;
  Path work_;
  Metadata identity_;
};

/// Mean of the first (last) 20 losses, or of all when there are fewer.
double mean_of_first(std::span<const float> losses);
double mean_of_last(std::span<const float> losses);

}  // namespace pockettune
