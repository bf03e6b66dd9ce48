/// Where a picture is on its way from noise, and where it goes; `previous` may be negative.
struct Timestep {
  let now: Int
  let previous: Int
}

extension Generation {
  /// The timesteps of a picture of `steps` steps, 1 to `trainTimesteps` (`spec/bundle.md`, 5). One after the other: a
  /// manifest may ask for 2^31.
  func timesteps(_ steps: Int) -> some RandomAccessCollection<Timestep> {
    let stride = trainTimesteps / steps
    return (0..<steps).lazy.map { index in
      let now: Int
      switch spacing {
      case .trailing: now = divideHalfEven(trainTimesteps * (steps - index), steps) - 1
      case .leading: now = (steps - 1 - index) * stride + stepsOffset
      }
      return Timestep(now: now, previous: now - stride)
    }
  }
}

/// A quotient rounded to the nearest integer, ties to even; both are positive.
private func divideHalfEven(_ numerator: Int, _ denominator: Int) -> Int {
  let (quotient, rest) = numerator.quotientAndRemainder(dividingBy: denominator)
  let up = 2 * rest > denominator || (2 * rest == denominator && quotient % 2 == 1)
  return quotient + (up ? 1 : 0)
}
