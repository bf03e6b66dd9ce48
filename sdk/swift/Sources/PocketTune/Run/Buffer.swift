/// Memory of its own, zeroed, aligned for engines; freed with the last reference.
final class Buffer {
  let bytes: UnsafeMutableRawBufferPointer

  init(_ count: Int) {
    bytes = .allocate(byteCount: count, alignment: 16)
    bytes.initializeMemory(as: UInt8.self, repeating: 0)
  }

  deinit { bytes.deallocate() }

  var readable: UnsafeRawBufferPointer { UnsafeRawBufferPointer(bytes) }
  var floats: UnsafeMutableBufferPointer<Float> { bytes.bindMemory(to: Float.self) }
  var integers: UnsafeMutableBufferPointer<Int64> { bytes.bindMemory(to: Int64.self) }

  func copy() -> Buffer {
    let copy = Buffer(bytes.count)
    copy.bytes.copyMemory(from: readable)
    return copy
  }
}
