// Prints random numbers for the tests: pockettune-random words|integer|uniform|normal SEED STREAM INDEX COUNT [LOW HIGH].
// Floats are printed as their bit patterns. Also: halves COUNT, the float16 of float32 bit patterns from standard input.
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "dtype.h"
#include "random.h"

int main(int count, char **words) {
  using namespace pockettune;
  const auto number = [&](int i) { return i < count ? std::strtoull(words[i], nullptr, 10) : 0; };
  const std::string_view kind = count > 1 ? words[1] : "";
  if (kind == "halves") {
    for (uint32_t bits; std::scanf("%x", &bits) == 1;) {
      const uint16_t half = to_half(std::bit_cast<float>(bits));
      std::printf("%04x %08x\n", half, std::bit_cast<uint32_t>(from_half(half)));
    }
    return 0;
  }
  const RandomKey key{number(2), static_cast<uint32_t>(number(3)), number(4)};
  const size_t elements = number(5);
  if (kind == "words") {
    for (size_t i = 0; i < elements; i++) std::printf("%08x\n", random_words(key, static_cast<uint32_t>(i / 4))[i % 4]);
  } else if (kind == "integer") {
    std::vector<int64_t> values(elements);
    random_integer(key, std::strtoll(words[6], nullptr, 10), std::strtoll(words[7], nullptr, 10), values);
    for (const int64_t value : values) std::printf("%lld\n", static_cast<long long>(value));
  } else {
    std::vector<float> values(elements);
    kind == "normal" ? random_normal(key, values) : random_uniform(key, values);
    for (const float value : values) std::printf("%08x\n", std::bit_cast<uint32_t>(value));
  }
  return 0;
}
