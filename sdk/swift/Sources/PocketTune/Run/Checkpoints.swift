import Foundation

/// The saved states of one work folder: written whole or not at all, and found again (`spec/runner.md`, personalize 3).
struct Checkpoints {
  let work: String
  /// Everything that the result depends on.
  let identity: Metadata

  private func path(_ step: Int) -> String {
    let digits = String(step)
    return "\(work)/state-\(String(repeating: "0", count: max(0, 8 - digits.count)))\(digits).safetensors"
  }

  /// Steps and paths, newest first.
  private func files() throws -> [(step: Int, path: String)] {
    try namesIn(work).compactMap { name in
      guard name.hasPrefix("state-"), name.hasSuffix(".safetensors") else { return nil }
      let digits = name.dropFirst("state-".count).dropLast(".safetensors".count)
      guard !digits.isEmpty, digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
      return Int(digits).map { ($0, "\(work)/\(name)") }
    }.sorted { $0.step > $1.step }
  }

  /// The step of the newest whole state, whatever run it is of; 0 when there is none.
  func savedStep() throws -> Int {
    for (step, path) in try files() {
      do {
        if try isWhole(TensorFile(path), step) { return step }
      } catch let error as PocketTuneError where error.code == .safetensorsInvalid {}
    }
    return 0
  }

  /// Writes the state behind `step` steps, reads it back, then removes older ones. `losses` has a place for every step.
  func save(_ state: TrainingState, _ losses: [Float], _ step: Int) throws {
    try drained { try write(state, losses, step) }
  }

  private func write(_ state: TrainingState, _ losses: [Float], _ step: Int) throws {
    try losses.withUnsafeBytes { bytes in
      let tensors = state.views() + [TensorView(name: "losses", type: .float32, shape: [losses.count], bytes: bytes)]
      var digest = Digest256()
      for tensor in tensors { digest.update(tensor.bytes) }
      let seen = losses.prefix(step)
      let metadata = identity.merging(
        [
          "pockettune.state": "1", "step": String(step), "sha256": digest.hex(),
          "loss_first": shortestText(mean(seen.prefix(20))), "loss_last": shortestText(mean(seen.suffix(20))),
        ], uniquingKeysWith: { $1 })
      try writeTensorFile(path(step), tensors, metadata)
    }
    guard try isWhole(TensorFile(path(step)), step) else {
      throw PocketTuneError(
        .ioFailed, "'\(path(step))' reads back as something else than was written: check the device's storage")
    }
    try removeStates(before: step)
  }

  /// Only after a newer one was read and found whole.
  private func removeStates(before step: Int) throws {
    for file in try files() where file.step < step { try removeFile(file.path) }
  }

  /// Loads the newest whole state into `state` and `losses`; gives its step, 0 when there is none. Damaged ones are
  /// passed over, since training again gives the same bytes. Throws `stateMismatch` for one of another run.
  func load(_ state: TrainingState, _ losses: inout [Float], _ damaged: (String) -> Void) throws -> Int {
    for (step, path) in try files() {
      do {
        let file = try TensorFile(path)
        if try isWhole(file, step) {
          try checkIdentity(file.metadata, identity, path)
          guard (1...max(1, losses.count)).contains(step) else { continue }
          for tensor in state.views() {
            try file.read(try file.require(tensor.name, tensor.type, tensor.shape), into: state.now(tensor.name).bytes)
          }
          let entry = try file.require("losses", .float32, [losses.count])
          try losses.withUnsafeMutableBytes { try file.read(entry, into: $0) }
          try removeStates(before: step)
          return step
        }
      } catch let error as PocketTuneError where error.code == .safetensorsInvalid {}
      damaged(path)
    }
    return 0
  }

  /// A state of that step whose data is what it was written as.
  private func isWhole(_ file: TensorFile, _ step: Int) throws -> Bool {
    guard file.metadata["pockettune.state"] == "1", file.metadata["step"] == String(step) else { return false }
    return try file.dataDigest() == file.metadata["sha256"]
  }
}

/// Throws `stateMismatch` unless `found` has every setting of `wanted`; says which differ.
func checkIdentity(_ found: Metadata, _ wanted: Metadata, _ path: String) throws {
  func short(_ text: String) -> String { text.count > 24 ? "\(text.prefix(12))..." : text }
  let differences = wanted.sorted { $0.key < $1.key }.filter { found[$0.key] != $0.value }.map {
    "\($0.key) was \(short(found[$0.key] ?? "none")) and is \(short($0.value))"
  }
  guard differences.isEmpty else {
    throw PocketTuneError(
      .stateMismatch,
      "'\(path)' is of another run: \(differences.joined(separator: ", ")); use the same settings, another name, "
        + "or discard the run")
  }
}

/// The mean of losses in float64, in order; 0 when there are none.
func mean(_ losses: some Collection<Float>) -> Double {
  losses.isEmpty ? 0 : losses.reduce(0.0) { $0 + Double($1) } / Double(losses.count)
}

/// The middle of some seconds; 0 when there are none.
func median(_ values: [Double]) -> Double {
  guard !values.isEmpty else { return 0 }
  let sorted = values.sorted()
  let half = sorted.count / 2
  return sorted.count % 2 == 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2
}
