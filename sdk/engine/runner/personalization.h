// The settings of one personalization, shared by its parts.
#pragma once
#include "executor.h"

namespace pockettune {

struct PersonalizationSettings {
  uint64_t seed = 0;
  int64_t steps = 0;
  int64_t samples = 0;
  int64_t checkpoint_every = 25;
  Numbers hyper;
  // Prior preservation; 0 pictures: none.
  double prior_weight = 0;
  int64_t class_pictures = 0;
};

/// What a training sample is made of (spec/bundle.md, 4).
Item training_item(uint64_t sample, uint64_t photos, const PersonalizationSettings& settings);

/// Runs the preparation's programs, unless the work folder holds their results, and gives these.
/// `batch` has the subject's prompt, the class's when there is one, and the unconditional one.
/// Raises interrupted between two runs.
CacheFile prepare(const Bundle& bundle, const PersonalizationSettings& settings, const Batch& batch,
                  uint64_t photos, const Path& work, const Metadata& identity);

}  // namespace pockettune
