// From prompts to latents: the part of generation that personalization shares for its class
// pictures.
#pragma once
#include <functional>

#include "executor.h"

namespace pockettune {

struct DenoiseSettings {
  uint64_t seed;
  int64_t steps;
  Numbers hyper;
};

/// Called before every step.
using OnDenoise = std::function<void(uint64_t picture, int64_t step)>;

/// The cache that holds a picture while it is made. Raises bundle_manifest_invalid when the bundle
/// has not exactly one.
const std::string& picture_cache(const Bundle& bundle);

/// Names of the state tensors that the three programs of generation use.
std::set<std::string> state_of_generation(const Bundle& bundle);

/// Makes the latents of pictures 0 .. prompts.size() - 1; prompts.at(j) is an index into
/// batch.prompts, whose last entry is the unconditional one. Leaves them in the picture cache of
/// `caches`; gives the seconds of every step. Raises bundle_manifest_invalid when there are more
/// steps than timesteps.
std::vector<double> denoise_pictures(const Bundle& bundle, const DenoiseSettings& settings,
                                     const Batch& batch, const std::vector<uint64_t>& prompts,
                                     State& state, MemoryCache& caches, const OnDenoise& on_step);

}  // namespace pockettune
