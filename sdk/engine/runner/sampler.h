// Which timesteps a picture is generated at (spec/bundle.md, 5).
#pragma once
#include <cstdint>
#include <string_view>
#include <vector>

namespace pockettune {

struct Timestep {
  int64_t now;
  int64_t previous;  // may be negative
};

enum class Spacing { trailing, leading };

/// `steps` timesteps of 1 <= steps <= train_timesteps, from noise to picture.
std::vector<Timestep> sampler_timesteps(Spacing spacing, int64_t train_timesteps, int64_t steps,
                                        int64_t steps_offset);

}  // namespace pockettune
