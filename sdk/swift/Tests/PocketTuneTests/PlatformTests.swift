import Foundation
import Testing

@testable import PocketTune
@testable import PocketTuneCoreML

@Suite struct Arrays {
  @Test func areGatheredByTheirStrides() {
    // Elements of a padded array, by their places.
    let cases: [(shape: [Int], strides: [Int], wanted: [Int32])] = [
      ([2, 3], [4, 1], [0, 1, 2, 4, 5, 6]),
      ([2, 3], [1, 2], [0, 2, 4, 1, 3, 5]),
      ([2, 1, 2], [8, 5, 1], [0, 1, 8, 9]),
      ([2, 2, 2], [6, 3, 1], [0, 1, 3, 4, 6, 7, 9, 10]),
      ([3], [2], [0, 2, 4]),
      ([1], [7], [0]),
    ]
    let source = Array(Int32(0)..<12)
    for (shape, strides, wanted) in cases {
      var found = [Int32](repeating: -1, count: wanted.count)
      let done = source.withUnsafeBytes { source in
        found.withUnsafeMutableBytes { gather(source, shape: shape, strides: strides, elementBytes: 4, into: $0) }
      }
      #expect(done && found == wanted)
    }
  }

  @Test func thatReachOutsideAreRefused() {
    let source = [Int32](repeating: 0, count: 6)
    var target = [Int32](repeating: 0, count: 6)
    for (shape, strides) in [([2, 3], [4, 1]), ([2, 3], [-1, 1]), ([2, 2], [2, 1]), ([6], [1, 1])] {
      let done = source.withUnsafeBytes { source in
        target.withUnsafeMutableBytes { gather(source, shape: shape, strides: strides, elementBytes: 4, into: $0) }
      }
      #expect(!done)
    }
    #expect(rowMajorStrides([2, 3, 4]) == [12, 4, 1] && rowMajorStrides([]) == [])
  }
}

@Suite struct Memory {
  @Test func thatIsNotThereIsAnError() throws {
    #expect(code { _ = try Buffer(1 << 62) } == .outOfMemory)
    let buffer = try Buffer(40)
    #expect(buffer.bytes.allSatisfy { $0 == 0 } && Int(bitPattern: buffer.bytes.baseAddress!) % 16 == 0)
    #expect(try Buffer(0).bytes.count == 0)
  }
}

@Suite struct BundleFolders {
  @Test func holdNothingButWhatWasVerified() throws {
    let temporary = try TemporaryFolder()
    let folder = temporary.url.appendingPathComponent("bundle")
    try FileManager.default.copyItem(at: vectors.appendingPathComponent("bundle"), to: folder)
    let bundle = try ModelBundle.open(folder)
    let file = try #require(bundle.manifest.files.keys.first { $0.text.contains("/") }).text
    let inside = (file as NSString).deletingLastPathComponent
    try bundle.checkUnchanged(folder: inside)
    let added = folder.appendingPathComponent(inside + "/more")
    try Data().write(to: added)
    #expect(code { try bundle.checkUnchanged(folder: inside) } == .bundleCorrupt)
    try FileManager.default.removeItem(at: added)
    try bundle.checkUnchanged(folder: inside)
    try Data([1]).write(to: folder.appendingPathComponent(file))
    #expect(code { try bundle.checkUnchanged(folder: inside) } == .bundleCorrupt)
  }
}
