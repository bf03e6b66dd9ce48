import Foundation
import Testing

@testable import PocketTune

/// Damaged files of every kind: an error of ours, or the same meaning, and never a crash, a hang or a large allocation.
/// POCKETTUNE_MUTATIONS: how many of each kind; 100000 are asked for by hand.
@Suite(.serialized) struct Mutations {
  private let count = Int(ProcessInfo.processInfo.environment["POCKETTUNE_MUTATIONS"] ?? "") ?? 2000

  @Test func ofManifests() throws {
    var generator = Seeded(state: 11)
    for name in ["bundle", "bundle_classification"] {
      let good = [UInt8](try Data(contentsOf: vectors.appendingPathComponent("\(name)/manifest.json")))
      // Behind the identifier, so that the document itself is read.
      let head = "{\"bundle_id\":\"\",\"signature\":\"\",".utf8.count + 64
      try measured("manifests like \(name)") {
        let rest = generator.mutated(Array(good[head...]))
        let canonical = [UInt8(ascii: "{")] + rest
        let text = Array("{\"bundle_id\":\"\(Digest256.hex(of: canonical))\",\"signature\":\"\",".utf8) + rest
        return code { _ = try Manifest(bytes: text) }?.rawValue ?? "taken"
      }
    }
  }

  @Test func ofTensorFiles() throws {
    var generator = Seeded(state: 12)
    let folder = try TemporaryFolder()
    let good = [UInt8](try Data(contentsOf: vectors.appendingPathComponent("every_dtype.safetensors")))
    try measured("tensor files") {
      let path = folder.path("file")
      try Data(generator.mutated(good)).write(to: URL(fileURLWithPath: path))
      return code { _ = try TensorFile(path) }?.rawValue ?? "taken"
    }
  }

  @Test func ofCheckpoints() throws {
    var generator = Seeded(state: 13)
    let folder = try TemporaryFolder()
    let bundle = try ModelBundle.open(vectors.appendingPathComponent("bundle_classification"))
    let names = bundle.manifest.programs[bundle.manifest.training.program]!.state
    let checkpoints = Checkpoints(work: folder.url.path, identity: ["seed": "7", "steps": "3"])
    let state = try TrainingState(bundle, names)
    try checkpoints.save(state, [1, 2, 0], 2)
    let path = folder.path("state-00000002.safetensors")
    let good = [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
    let values = state.views().map { Data($0.bytes) }
    try measured("checkpoints") {
      try Data(generator.mutated(good)).write(to: URL(fileURLWithPath: path))
      var (step, losses) = (0, [Float](repeating: 0, count: 3))
      let loaded = try TrainingState(bundle, names)
      let found = code { step = try checkpoints.load(loaded, &losses) { _ in } }
      // What is taken is what was written.
      if step > 0 { #expect(step == 2 && losses == [1, 2, 0] && loaded.views().map { Data($0.bytes) } == values) }
      return found?.rawValue ?? (step > 0 ? "taken" : "passed over")
    }
  }

  private func measured(_ what: String, _ one: () throws -> String) throws {
    let before = ProcessMemory.peakResident()
    var codes: [String: Int] = [:]
    let clock = SystemClock()
    for _ in 0..<count { codes[try one(), default: 0] += 1 }
    let grown = ProcessMemory.peakResident() - before
    #expect(grown < 64 << 20)
    let counts = codes.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }.joined(separator: ", ")
    print("figure: \(count) \(what): \(counts); \(Int(clock.seconds())) s, \(grown >> 20) MiB more at the peak")
  }
}

/// SplitMix64: the same damage in every run.
private struct Seeded {
  var state: UInt64

  mutating func next(below bound: Int) -> Int {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
    return Int((z ^ z >> 31) % UInt64(bound))
  }

  /// One to three bytes changed, inserted, removed or repeated, numbers made enormous, or the end cut off.
  mutating func mutated(_ bytes: [UInt8]) -> [UInt8] {
    var bytes = bytes
    for _ in 0...next(below: 3) where !bytes.isEmpty {
      let at = next(below: bytes.count)
      switch next(below: 8) {
      case 0: bytes[at] ^= 1 << UInt8(next(below: 8))
      case 1: bytes[at] = UInt8(next(below: 256))
      case 2: bytes.insert(UInt8(next(below: 256)), at: at)
      case 3: bytes.remove(at: at)
      case 4: bytes.removeSubrange(at..<min(bytes.count, at + 1 + next(below: 40)))
      case 5: bytes.insert(contentsOf: bytes[at..<min(bytes.count, at + 1 + next(below: 40))], at: at)
      case 6:
        // The next number becomes another.
        let digits = bytes[at...].firstIndex { (0x30...0x39).contains($0) }
        let others = [
          "9007199254740991", "9223372036854775807", "18446744073709551616", "-1", "0", "1e9", "2147483647",
        ]
        if let digits { bytes.replaceSubrange(digits...digits, with: Array(others[next(below: others.count)].utf8)) }
      default: bytes.removeLast(min(bytes.count, 1 + next(below: 60)))
      }
    }
    return bytes
  }
}
