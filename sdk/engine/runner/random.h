// Counter-based random numbers (spec/random.md): every value is a function of seed, stream, index
// and element.
#pragma once
#include <array>
#include <cstdint>
#include <span>

namespace pockettune {

/// What a program's random input is drawn from.
struct RandomKey {
  uint64_t seed;
  uint32_t stream;
  uint64_t index;
};

/// Philox 4x32-10 (Salmon et al., SC 2011) for one block of four words.
std::array<uint32_t, 4> random_words(const RandomKey& key, uint32_t block);

/// The distributions' values for one word.
float uniform_of_word(uint32_t word);
float normal_of_word(uint32_t word);

void random_uniform(const RandomKey& key, std::span<float> out);
void random_normal(const RandomKey& key, std::span<float> out);
/// Integers in [low, high), 1 <= high - low <= 2^32.
void random_integer(const RandomKey& key, int64_t low, int64_t high, std::span<int64_t> out);

}  // namespace pockettune
