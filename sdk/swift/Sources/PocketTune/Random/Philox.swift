/// What a random number is a function of (`spec/random.md`), beside its place in the tensor.
struct RandomKey {
  var seed: UInt64
  var stream: UInt32
  var index: UInt64
}

/// Numbers that are a pure function of their key: Philox 4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random
/// numbers: as easy as 1, 2, 3", SC 2011), the same bits in every language.
enum Philox {
  /// Four words of one block.
  static func words(_ key: RandomKey, block: UInt32) -> (UInt32, UInt32, UInt32, UInt32) {
    var k0 = UInt32(truncatingIfNeeded: key.seed)
    var k1 = UInt32(truncatingIfNeeded: key.seed >> 32)
    var x0 = block
    var x1 = UInt32(truncatingIfNeeded: key.index)
    var x2 = UInt32(truncatingIfNeeded: key.index >> 32)
    var x3 = key.stream
    for _ in 0..<10 {
      let p0 = 0xD251_1F53 &* UInt64(x0)
      let p1 = 0xCD9E_8D57 &* UInt64(x2)
      (x0, x1, x2, x3) = (
        UInt32(truncatingIfNeeded: p1 >> 32) ^ x1 ^ k0, UInt32(truncatingIfNeeded: p1),
        UInt32(truncatingIfNeeded: p0 >> 32) ^ x3 ^ k1, UInt32(truncatingIfNeeded: p0)
      )
      k0 &+= 0x9E37_79B9
      k1 &+= 0xBB67_AE85
    }
    return (x0, x1, x2, x3)
  }

  /// Calls `use(element, word)` for every element of a tensor, in row-major order.
  @inline(__always)
  private static func eachWord(_ key: RandomKey, _ count: Int, _ use: (Int, UInt32) -> Void) {
    var element = 0
    while element < count {
      let words = words(key, block: UInt32(element / 4))
      for word in [words.0, words.1, words.2, words.3] where element < count {
        use(element, word)
        element += 1
      }
    }
  }

  /// Integers of `low..<high`; the range holds 1 to 2^32.
  static func fill(_ out: UnsafeMutableBufferPointer<Int64>, _ key: RandomKey, low: Int64, high: Int64) {
    let range = UInt64(bitPattern: high &- low)
    eachWord(key, out.count) { out[$0] = low &+ Int64(bitPattern: (UInt64($1) &* range) >> 32) }
  }

  /// Uniform numbers between 0 and 1; rounding may give 1, never 0.
  static func fillUniform(_ out: UnsafeMutableBufferPointer<Float>, _ key: RandomKey) {
    eachWord(key, out.count) { out[$0] = uniform($1) }
  }

  /// Standard normal numbers.
  static func fillNormal(_ out: UnsafeMutableBufferPointer<Float>, _ key: RandomKey) {
    eachWord(key, out.count) { out[$0] = normal($1) }
  }

  /// 0 to `length - 1`, sorted by their words, equal words by number.
  static func permutation(_ key: RandomKey, length: Int) -> [Int] {
    var words = [UInt32](repeating: 0, count: length)
    eachWord(key, length) { words[$0] = $1 }
    return (0..<length).sorted { (words[$0], $0) < (words[$1], $1) }
  }

  static func uniform(_ word: UInt32) -> Float { Float(unitInterval(word)) }
  static func normal(_ word: UInt32) -> Float { Float(inverseNormal(unitInterval(word))) }

  /// Exact: an odd integer of 33 bits times a power of two.
  private static func unitInterval(_ word: UInt32) -> Double { (Double(word) + 0.5) * 0x1p-32 }
}

/// PPND16 (Wichura, "Algorithm AS 241: the percentage points of the normal distribution", Applied Statistics 37,
/// 1988) for float64 in (0, 1), at least 2^-33 away from both ends; its third case cannot occur there.
private func inverseNormal(_ unit: Double) -> Double {
  let q = unit - 0.5
  if abs(q) <= 0.425 {
    let r = 0.180625 - q * q
    return q * horner(centralNumerator, r) / horner(centralDenominator, r)
  }
  let r = (-seriesLogarithm(q < 0 ? unit : 1.0 - unit)).squareRoot() - 1.6
  let value = horner(tailNumerator, r) / horner(tailDenominator, r)
  return q < 0 ? -value : value
}

/// The natural logarithm of 0 < r < 1 by the series that the specification fixes, because libraries round theirs
/// differently.
private func seriesLogarithm(_ r: Double) -> Double {
  // r = mantissa * 2^exponent with the mantissa in [1/2, 1).
  var exponent = Int(r.exponent) + 1
  var mantissa = r.significand * 0.5
  if mantissa < 0.70710678118654752440 {
    mantissa = mantissa * 2.0
    exponent -= 1
  }
  let s = (mantissa - 1.0) / (mantissa + 1.0)
  let z = s * s
  var sum = 1.0 / 21.0
  for n in stride(from: 19.0, through: 3.0, by: -2.0) { sum = 1.0 / n + z * sum }
  sum = 1.0 + z * sum
  return Double(exponent) * 0.69314718055994530942 + 2.0 * s * sum
}

/// `(((c7 r + c6) r + ...) r + c0)`; Swift never fuses the product and the sum.
private func horner(_ coefficients: [Double], _ r: Double) -> Double {
  var sum = coefficients[7]
  for index in stride(from: 6, through: 0, by: -1) { sum = sum * r + coefficients[index] }
  return sum
}

private let centralNumerator = [
  3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3, 1.3731693765509461125e4,
  4.5921953931549871457e4, 6.7265770927008700853e4, 3.3430575583588128105e4, 2.5090809287301226727e3,
]
private let centralDenominator = [
  1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3,
  2.1213794301586595867e4, 3.9307895800092710610e4, 2.8729085735721942674e4, 5.2264952788528545610e3,
]
private let tailNumerator = [
  1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0, 3.64784832476320460504e0,
  1.27045825245236838258e0, 2.41780725177450611770e-1, 2.27238449892691845833e-2, 7.74545014278341407640e-4,
]
private let tailDenominator = [
  1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1,
  1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4, 1.05075007164441684324e-9,
]
