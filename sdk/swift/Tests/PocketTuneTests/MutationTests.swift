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

  /// Whatever is taken can be worked with: each of its programs is run by an engine that gives zeros.
  @Test func ofBundlesInUse() async throws {
    var generator = Seeded(state: 14)
    for name in ["bundle", "bundle_classification"] {
      let temporary = try TemporaryFolder()
      let folder = temporary.url.appendingPathComponent("bundle")
      let good = try usableManifest(name, in: folder)
      var codes: [String: Int] = [:]
      for number in 0..<count {
        try writeManifest(generator.rewoven(good), in: folder)
        let store = temporary.url.appendingPathComponent("store\(number)")
        do {
          let bundle = try ModelBundle.open(folder)
          codes[try await used(bundle, try Store(root: store)), default: 0] += 1
        } catch let error as PocketTuneError {
          codes[error.code.rawValue, default: 0] += 1
        }
        try? FileManager.default.removeItem(at: store)
      }
      let counts = codes.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }.joined(separator: ", ")
      print("figure: \(count) bundles like \(name) in use: \(counts)")
      #expect(codes["used"] ?? 0 > 0)
    }
  }

  private func used(_ bundle: ModelBundle, _ store: Store) async throws -> String {
    guard bundle.isSmall else { return "too large for a test" }
    if let image = bundle.manifest.image, let generation = bundle.manifest.generation, bundle.task == "text_to_image" {
      let personalizer = try Personalizer(bundle: bundle, store: store, engine: Constant(), sensors: Ready())
      var settings = PersonalizationSettings()
      settings.steps = 2
      if generation.steps <= 5 {
        (settings.classPictures, settings.priorWeight, settings.classPrompt) = (1, 1, "")
      }
      _ = try personalizer.preflight(photos: 1, settings: settings)
      let photo = Pixels(try RGBImage(width: 1, height: 1, bytes: [1, 2, 3]), height: image.height, width: image.width)
      for try await _ in personalizer.personalize("a", [photo], prompt: "", settings: settings) {}
      _ = try await personalizer.generate("", steps: 1)
    } else if let task = bundle.manifest.classification, bundle.task == "classification" {
      let trainer = try Trainer(bundle: bundle, store: store, engine: Constant(), sensors: Ready())
      let inputs = [Float](repeating: 0, count: elementCount(task.inputShape)!)
      let examples = Examples(inputs: inputs, shape: task.inputShape, labels: [0])
      for bits in bundle.predictionBits { _ = try await trainer.predict(inputs, bits: bits) }
      _ = try await trainer.evaluate(examples)
      var settings = TrainingSettings()
      settings.steps = 2
      _ = try trainer.preflight(examples, settings: settings)
      for try await _ in trainer.train("a", examples, settings: settings) {}
    }
    return "used"
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

extension ModelBundle {
  /// Whether all that it has would fit many times: nobody tests how a machine runs out of memory.
  fileprivate var isSmall: Bool {
    let arguments = manifest.programs.values.flatMap { $0.inputs + $0.outputs }
    let sizes =
      manifest.tensors.values.map(\.bytes) + manifest.caches.values.map(\.bytes) + arguments.map(\.bytes) + [
        byteCount(inputShape ?? [], .float32) ?? .max,
        byteCount([pictureSize?.height ?? 1, pictureSize?.width ?? 1], .float32)!,
        manifest.text?.maxLength ?? 0, manifest.classification?.batchSize ?? 0,
      ]
    return sizes.allSatisfy { $0 <= 1 << 20 }
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

  /// Still JSON: one to three of the texts and numbers that are values become others of it, or numbers enormous.
  mutating func rewoven(_ bytes: [UInt8]) -> [UInt8] {
    var bytes = bytes
    for _ in 0...next(below: 3) {
      let (texts, numbers) = values(bytes)
      let others = ["9007199254740991", "9223372036854775807", "-1", "0", "1", "1e9", "2147483647", "4", "65536"]
      if next(below: 2) == 0 {
        let new = bytes[texts[next(below: texts.count)]]
        bytes.replaceSubrange(texts[next(below: texts.count)], with: Array(new))
      } else {
        let known = bytes[numbers[next(below: numbers.count)]]
        let new = next(below: 2) == 0 ? Array(known) : Array(others[next(below: others.count)].utf8)
        bytes.replaceSubrange(numbers[next(below: numbers.count)], with: new)
      }
    }
    return bytes
  }

  /// Where the values are that are texts or numbers; the vectors' texts have no escapes.
  private func values(_ bytes: [UInt8]) -> (texts: [Range<Int>], numbers: [Range<Int>]) {
    var (texts, numbers): ([Range<Int>], [Range<Int>]) = ([], [])
    var at = 0
    while at < bytes.count {
      let begin = at
      at += 1
      if bytes[begin] == UInt8(ascii: "\"") {
        while bytes[at] != UInt8(ascii: "\"") { at += 1 }
        at += 1
        if bytes[at] != UInt8(ascii: ":") { texts.append(begin..<at) }
      } else if bytes[begin] == UInt8(ascii: "-") || (0x30...0x39).contains(bytes[begin]) {
        while Array("0123456789.e+-".utf8).contains(bytes[at]) { at += 1 }
        numbers.append(begin..<at)
      }
    }
    return (texts, numbers)
  }
}
