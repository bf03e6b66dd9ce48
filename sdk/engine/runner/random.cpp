#include "random.h"

#include <cmath>
#include <cstddef>

namespace pockettune {
namespace {

/// Calls use(element, word) for each element, in order.
template <class Use>
void each_word(const RandomKey& key, size_t count, Use&& use) {
  for (size_t begin = 0; begin < count; begin += 4) {
    const std::array<uint32_t, 4> words = random_words(key, static_cast<uint32_t>(begin / 4));
    for (size_t i = begin; i < count && i < begin + 4; i++) use(i, words[i % 4]);
  }
}

/// Exact: a 33-bit odd integer times a power of two.
double unit_interval(uint32_t word) { return (static_cast<double>(word) + 0.5) * 0x1p-32; }

/// Natural logarithm for 0 < r < 1 by the series that the specification fixes.
double series_log(double r) {
  int exponent = 0;
  double mantissa = std::frexp(r, &exponent);
  if (mantissa < 0.70710678118654752440) {
    mantissa = mantissa * 2.0;
    exponent -= 1;
  }
  const double s = (mantissa - 1.0) / (mantissa + 1.0);
  const double z = s * s;
  double sum = 1.0 / 21.0;
  for (int n = 19; n >= 3; n -= 2) sum = 1.0 / n + z * sum;
  sum = 1.0 + z * sum;
  return exponent * 0.69314718055994530942 + 2.0 * s * sum;
}

/// (((c7 r + c6) r + ...) r + c0)
double horner(const std::array<double, 8>& coefficients, double r) {
  double sum = coefficients[7];
  for (size_t i = 7; i-- > 0;) sum = sum * r + coefficients[i];
  return sum;
}

// Wichura, "Algorithm AS 241: the percentage points of the normal distribution", Applied Statistics
// 37 (1988), PPND16.
constexpr std::array<double, 8> a{3.3871328727963666080e0, 1.3314166789178437745e2,
                                  1.9715909503065514427e3, 1.3731693765509461125e4,
                                  4.5921953931549871457e4, 6.7265770927008700853e4,
                                  3.3430575583588128105e4, 2.5090809287301226727e3};
constexpr std::array<double, 8> b{1.0,
                                  4.2313330701600911252e1,
                                  6.8718700749205790830e2,
                                  5.3941960214247511077e3,
                                  2.1213794301586595867e4,
                                  3.9307895800092710610e4,
                                  2.8729085735721942674e4,
                                  5.2264952788528545610e3};
constexpr std::array<double, 8> c{1.42343711074968357734e0,  4.63033784615654529590e0,
                                  5.76949722146069140550e0,  3.64784832476320460504e0,
                                  1.27045825245236838258e0,  2.41780725177450611770e-1,
                                  2.27238449892691845833e-2, 7.74545014278341407640e-4};
constexpr std::array<double, 8> d{1.0,
                                  2.05319162663775882187e0,
                                  1.67638483018380384940e0,
                                  6.89767334985100004550e-1,
                                  1.48103976427480074590e-1,
                                  1.51986665636164571966e-2,
                                  5.47593808499534494600e-4,
                                  1.05075007164441684324e-9};
constexpr std::array<double, 8> e{6.65790464350110377720e0,  5.46378491116411436990e0,
                                  1.78482653991729133580e0,  2.96560571828504891230e-1,
                                  2.65321895265761230930e-2, 1.24266094738807843860e-3,
                                  2.71155556874348757815e-5, 2.01033439929228813265e-7};
constexpr std::array<double, 8> f{1.0,
                                  5.99832206555887937690e-1,
                                  1.36929880922735805310e-1,
                                  1.48753612908506148525e-2,
                                  7.86869131145613259100e-4,
                                  1.84631831751005468180e-5,
                                  1.42151175831644588870e-7,
                                  2.04426310338993978564e-15};

double inverse_normal(double u) {
  const double q = u - 0.5;
  if (std::fabs(q) <= 0.425) {
    const double r = 0.180625 - q * q;
    return q * horner(a, r) / horner(b, r);
  }
  double r = std::sqrt(-series_log(q < 0 ? u : 1.0 - u));
  double value;
  if (r <= 5.0) {
    r = r - 1.6;
    value = horner(c, r) / horner(d, r);
  } else {
    r = r - 5.0;
    value = horner(e, r) / horner(f, r);
  }
  return q < 0 ? -value : value;
}

}  // namespace

std::array<uint32_t, 4> random_words(const RandomKey& key, uint32_t block) {
  auto k0 = static_cast<uint32_t>(key.seed);
  auto k1 = static_cast<uint32_t>(key.seed >> 32);
  std::array<uint32_t, 4> x{block, static_cast<uint32_t>(key.index),
                            static_cast<uint32_t>(key.index >> 32), key.stream};
  for (int round = 0; round < 10; round++) {
    const uint64_t p0 = uint64_t{0xD2511F53} * x[0];
    const uint64_t p1 = uint64_t{0xCD9E8D57} * x[2];
    x = {static_cast<uint32_t>(p1 >> 32) ^ x[1] ^ k0, static_cast<uint32_t>(p1),
         static_cast<uint32_t>(p0 >> 32) ^ x[3] ^ k1, static_cast<uint32_t>(p0)};
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  return x;
}

float uniform_of_word(uint32_t word) { return static_cast<float>(unit_interval(word)); }

float normal_of_word(uint32_t word) {
  return static_cast<float>(inverse_normal(unit_interval(word)));
}

void random_uniform(const RandomKey& key, std::span<float> out) {
  each_word(key, out.size(), [&](size_t i, uint32_t word) { out[i] = uniform_of_word(word); });
}

void random_normal(const RandomKey& key, std::span<float> out) {
  each_word(key, out.size(), [&](size_t i, uint32_t word) { out[i] = normal_of_word(word); });
}

void random_integer(const RandomKey& key, int64_t low, int64_t high, std::span<int64_t> out) {
  const auto range = static_cast<uint64_t>(high - low);
  each_word(key, out.size(), [&](size_t i, uint32_t word) {
    // The range may be 2^32, so the product needs up to 64 bits: it just fits.
    out[i] = low + static_cast<int64_t>(word * range >> 32);
  });
}

}  // namespace pockettune
