import Foundation

/// Which prompt, photo, sample and picture a run of a program is about.
struct Item {
  var prompt = 0
  /// The prompt that stands for no prompt.
  var unconditional = 0
  var photo = 0
  var sample = 0
  var picture = 0
  /// Of a client in a round.
  var step = 0
  var round = 0
  var client = 0
  var weight: Float = 1
  var timestep = Timestep(now: 0, previous: 0)

  func index(_ scope: Scope) -> UInt64 {
    switch scope {
    case .prompt: return UInt64(prompt)
    case .photo: return UInt64(photo)
    case .sample: return UInt64(sample)
    case .picture: return UInt64(picture)
    case .step: return (UInt64(round) << 24 + UInt64(client)) << 20 + UInt64(step)
    case .round: return UInt64(round)
    case .client: return UInt64(client)
    }
  }
}

/// A value of an input bound to `batch.NAME`.
protocol BatchSource: AnyObject {
  /// Fills an input for an item; false when nothing is known about that name, type and shape.
  func fill(_ name: Name, _ argument: Argument, _ item: Item, _ out: Buffer) throws -> Bool
}

/// Runs a program by its bindings: finds every input's bytes, and puts every output where it belongs. It knows no
/// method and no model.
final class Executor {
  private struct Slot {
    let argument: Argument
    /// nil for state tensors, which are used in place.
    let value: Buffer?
    /// A cache's value as it is kept, when that is of another type.
    let stored: Buffer?
    let cache: Cache?
  }

  private let program: Program
  private let session: any Session
  private let seed: UInt64
  private let hyper: Numbers
  private let batch: any BatchSource
  private let state: TrainingState
  private let caches: any CacheStore
  private let inputs: [Slot]
  private let outputs: [Slot]

  init(
    _ engine: any Engine, _ bundle: ModelBundle, _ program: Program, seed: UInt64, hyper: Numbers,
    batch: any BatchSource, state: TrainingState, caches: any CacheStore
  ) throws {
    func slot(_ argument: Argument) throws -> Slot {
      let cache = argument.binding.cache.flatMap { bundle.manifest.caches[$0] }
      return Slot(
        argument: argument, value: argument.binding.state == nil ? try Buffer(argument.bytes) : nil,
        stored: try cache.flatMap { $0.stored == $0.type ? nil : try Buffer($0.storedBytes) }, cache: cache)
    }
    self.program = program
    session = try engine.open(bundle, program)
    (self.seed, self.hyper, self.batch, self.state, self.caches) = (seed, hyper, batch, state, caches)
    inputs = try program.inputs.map(slot)
    outputs = try program.outputs.map(slot)
  }

  /// Runs once. With `keepsState` false, state outputs are thrown away.
  func run(_ item: Item, keepsState: Bool = true) throws {
    for slot in inputs { try fill(slot, item) }
    try drained {
      try session.run(
        inputs: inputs.map { $0.value?.readable ?? state.now($0.argument.binding.state!).readable },
        outputs: outputs.map { try $0.value?.bytes ?? state.next($0.argument.binding.state!).bytes })
    }
    for slot in outputs { try keep(slot, item, keepsState) }
  }

  /// The loss of the last run. Throws `bundleManifestInvalid` when the program has none.
  func loss() throws -> Float {
    try number { $0 == .loss }
  }

  /// A metric of the last run, likewise.
  func metric(_ name: Name) throws -> Float {
    try number { $0 == .metric(name) }
  }

  /// The first output.* of the last run, likewise; it must be float32.
  func output() throws -> UnsafeMutableBufferPointer<Float> {
    let slot = try output { binding in
      if case .output = binding { return true }
      return false
    }
    guard slot.argument.type == .float32 else { throw noSource(slot.argument, "a result must be float32") }
    return slot.value!.floats
  }

  private func number(_ matches: (Binding) -> Bool) throws -> Float { try output(matches).value!.floats[0] }

  private func output(_ matches: (Binding) -> Bool) throws -> Slot {
    guard let slot = outputs.first(where: { matches($0.argument.binding) }) else {
      throw PocketTuneError(
        .bundleManifestInvalid,
        "program '\(program.name)' lacks an output that its task needs: export the bundle again")
    }
    return slot
  }

  private func noSource(_ argument: Argument, _ why: String) -> PocketTuneError {
    PocketTuneError(
      .bundleManifestInvalid, "program '\(program.name)' has '\(argument.name)': \(why); export the bundle again")
  }

  private func fill(_ slot: Slot, _ item: Item) throws {
    let argument = slot.argument
    let key = RandomKey(seed: seed, stream: argument.stream, index: item.index(argument.index))
    switch argument.binding {
    case .batch(let name):
      guard try batch.fill(name, argument, item, slot.value!) else {
        throw noSource(argument, "nothing is known about batch.\(name) of that dtype and shape")
      }
    case .hyper(let name):
      try fillNumber(slot.value!, argument, try hyperValue(name, argument, item))
    case .randomNormal: Philox.fillNormal(slot.value!.floats, key)
    case .randomUniform: Philox.fillUniform(slot.value!.floats, key)
    case .randomInteger: Philox.fill(slot.value!.integers, key, low: argument.low, high: argument.high)
    case .cache(let name):
      let cache = slot.cache!
      let index = argument.unconditional ? item.unconditional : Int(item.index(cache.scope))
      try caches.read(name, index, into: (slot.stored ?? slot.value!).bytes)
      if let stored = slot.stored { convert(stored.readable, cache.stored, to: slot.value!.bytes, cache.type) }
    case .state, .loss, .metric, .output: break
    }
  }

  private func hyperValue(_ name: Name, _ argument: Argument, _ item: Item) throws -> Double {
    if name == "timestep" { return Double(item.timestep.now) }
    if name == "previous_timestep" { return Double(item.timestep.previous) }
    guard let value = hyper[name] else { throw noSource(argument, "hyper.\(name) has no value") }
    return value
  }

  private func fillNumber(_ buffer: Buffer, _ argument: Argument, _ value: Double) throws {
    if argument.type == .float32 {
      buffer.floats.update(repeating: Float(value))
      return
    }
    guard abs(value) < 0x1p63 else { throw noSource(argument, "its number does not fit an int64") }
    buffer.integers.update(repeating: Int64(value.rounded(.toNearestOrAwayFromZero)))
  }

  private func keep(_ slot: Slot, _ item: Item, _ keepsState: Bool) throws {
    switch slot.argument.binding {
    case .state(let name):
      if keepsState { try state.swap(name) }
    case .cache(let name):
      let cache = slot.cache!
      if let stored = slot.stored { convert(slot.value!.readable, cache.type, to: stored.bytes, cache.stored) }
      try caches.write(name, Int(item.index(cache.scope)), (slot.stored ?? slot.value!).readable)
    default: break
    }
  }
}
