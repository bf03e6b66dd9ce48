/// Copies an array whose elements lie `strides` elements apart into one whose rows follow each other. False when an
/// element would lie outside of `source`, or `target` has another size.
func gather(
  _ source: UnsafeRawBufferPointer, shape: [Int], strides: [Int], elementBytes: Int,
  into target: UnsafeMutableRawBufferPointer
) -> Bool {
  let count = shape.reduce(1, *)
  guard shape.count == strides.count, target.count == count * elementBytes, strides.allSatisfy({ $0 >= 0 }) else {
    return false
  }
  if count == 0 { return true }
  let last = zip(shape, strides).reduce(0) { $0 + ($1.0 - 1) * $1.1 }
  guard (last + 1) * elementBytes <= source.count else { return false }
  // What follows each other at the end is copied at once.
  var run = 1
  var outer = shape.count
  while outer > 0, shape[outer - 1] == 1 || strides[outer - 1] == run {
    run *= shape[outer - 1]
    outer -= 1
  }
  var index = [Int](repeating: 0, count: outer)
  var from = 0
  for to in stride(from: 0, to: count, by: run) {
    (target.baseAddress! + to * elementBytes).copyMemory(
      from: source.baseAddress! + from * elementBytes, byteCount: run * elementBytes)
    for axis in (0..<outer).reversed() {
      index[axis] += 1
      from += strides[axis]
      if index[axis] < shape[axis] { break }
      from -= strides[axis] * shape[axis]
      index[axis] = 0
    }
  }
  return true
}

/// Strides of an array whose rows follow each other.
func rowMajorStrides(_ shape: [Int]) -> [Int] {
  var strides = [Int](repeating: 1, count: shape.count)
  for axis in shape.indices.dropLast().reversed() { strides[axis] = strides[axis + 1] * shape[axis + 1] }
  return strides
}
