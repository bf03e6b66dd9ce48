#include "sampler.h"

namespace pockettune {
namespace {

/// numerator / denominator rounded to the nearest integer, ties to even; both positive.
int64_t divide_half_even(int64_t numerator, int64_t denominator) {
  const int64_t quotient = numerator / denominator;
  const int64_t twice_rest = 2 * (numerator % denominator);
  const bool up = twice_rest > denominator || (twice_rest == denominator && quotient % 2 == 1);
  return quotient + up;
}

}  // namespace

std::vector<Timestep> sampler_timesteps(Spacing spacing, int64_t train_timesteps, int64_t steps,
                                        int64_t steps_offset) {
  const int64_t stride = train_timesteps / steps;
  std::vector<Timestep> timesteps;
  for (int64_t i = 0; i < steps; i++) {
    const int64_t now = spacing == Spacing::trailing
                            ? divide_half_even(train_timesteps * (steps - i), steps) - 1
                            : (steps - 1 - i) * stride + steps_offset;
    timesteps.push_back({now, now - stride});
  }
  return timesteps;
}

}  // namespace pockettune
