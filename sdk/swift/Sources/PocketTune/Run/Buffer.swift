import Foundation

/// Memory of its own, zeroed, aligned for engines; freed with the last reference.
final class Buffer {
  let bytes: UnsafeMutableRawBufferPointer

  /// Throws `outOfMemory` where the system has none: sizes come from manifests, and Swift's own allocation would end
  /// the app.
  init(_ count: Int) throws {
    // malloc's alignment is 16 bytes on the 64-bit systems that this is for.
    guard let memory = calloc(max(1, count), 1) else {
      throw PocketTuneError(
        .outOfMemory, "there is no memory for \(count) bytes: close other apps, or use a smaller model")
    }
    bytes = UnsafeMutableRawBufferPointer(start: memory, count: count)
  }

  deinit { free(bytes.baseAddress) }

  var readable: UnsafeRawBufferPointer { UnsafeRawBufferPointer(bytes) }
  var floats: UnsafeMutableBufferPointer<Float> { bytes.bindMemory(to: Float.self) }
  var integers: UnsafeMutableBufferPointer<Int64> { bytes.bindMemory(to: Int64.self) }

  func copy() throws -> Buffer {
    let copy = try Buffer(bytes.count)
    copy.bytes.copyMemory(from: readable)
    return copy
  }
}
