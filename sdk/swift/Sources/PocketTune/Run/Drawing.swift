/// Tokenized prompts, the unconditional one last, and photos.
final class PhotoBatch: BatchSource {
  private let prompts: [[Int64]]
  private let photos: [Pixels]

  init(prompts: [[Int64]], photos: [Pixels] = []) {
    self.prompts = prompts
    self.photos = photos
  }

  func fill(_ name: Name, _ argument: Argument, _ item: Item, _ out: Buffer) throws -> Bool {
    switch (name, argument.type) {
    case ("input_ids", .int64) where argument.bytes == 8 * prompts[item.prompt].count:
      _ = out.integers.update(fromContentsOf: prompts[item.prompt])
    case ("weight", .float32): out.floats.update(repeating: item.weight)
    case ("pixels", .float32):
      guard photos.indices.contains(item.photo) else { return false }
      let photo = photos[item.photo]
      guard argument.shape == [1, 3, photo.height, photo.width] else { return false }
      _ = out.floats.update(fromContentsOf: photo.values)
    default: return false
    }
    return true
  }
}

/// Makes pictures (`spec/bundle.md`, 5).
struct Drawing {
  private let context: RunContext

  init(_ context: RunContext) { self.context = context }

  /// `check` is called before every step.
  func picture(
    _ prompt: String, adapter: String?, seed: UInt64, steps: Int?, guidance: Double?, check: () throws -> Void
  ) throws -> RGBImage {
    let bundle = context.bundle
    let manifest = bundle.manifest
    let generation = manifest.generation!
    let steps = steps ?? generation.steps
    guard (1...generation.trainTimesteps).contains(steps) else {
      throw PocketTuneError(.configInvalid, "\(steps) steps: a picture takes 1 to \(generation.trainTimesteps)")
    }
    guard (0...1000).contains(guidance ?? 0) else {
      throw PocketTuneError(.configInvalid, "guidance must be 0 to 1000")
    }
    var hyper = generation.hyper
    if let guidance { hyper["guidance"] = guidance }
    let batch = PhotoBatch(prompts: [try bundle.tokenizer().encode(prompt), manifest.text!.unconditional])
    let pack = manifest.adapter!.tensors
    let programs = [generation.promptProgram, generation.stepProgram, generation.outputProgram]
    let names = programs.reduce(into: Set([pack])) { $0.formUnion(manifest.programs[$1]!.state) }
    let state = try TrainingState(bundle, names)
    if let adapter { try manifest.tensors[pack]!.readViews(adapter, into: state.now(pack)) }
    let caches = MemoryCache()

    // One program at a time is in memory.
    func with<Value>(_ name: Name, _ use: (Executor) throws -> Value) throws -> Value {
      try use(
        try Executor(
          context.engine, bundle, try bundle.program(name), seed: seed, hyper: hyper, batch: batch, state: state,
          caches: caches))
    }
    var item = Item()
    item.unconditional = 1
    try with(generation.promptProgram) { executor in
      for prompt in [0, 1] {
        var one = Item()
        one.prompt = prompt
        try executor.run(one)
      }
    }
    try drawFirstLatents(seed, caches)
    try with(generation.stepProgram) { executor in
      for timestep in generation.timesteps(steps) {
        try check()
        item.timestep = timestep
        try executor.run(item)
      }
    }
    return try with(generation.outputProgram) { executor in
      try executor.run(Item())
      return try RGBImage(try executor.output(), manifest.image!)
    }
  }

  private func drawFirstLatents(_ seed: UInt64, _ caches: MemoryCache) throws {
    let step = try context.bundle.program(context.bundle.manifest.generation!.stepProgram)
    let names = step.outputs.compactMap(\.binding.cache)
    guard names.count == 1, let cache = context.bundle.manifest.caches[names[0]], cache.scope == .picture,
      cache.type == .float32, let stream = cache.initialStream
    else {
      throw PocketTuneError(
        .bundleManifestInvalid,
        "the generation step must update one float32 cache of scope picture that begins as random.normal: export the "
          + "bundle again")
    }
    let noise = try Buffer(cache.bytes)
    Philox.fillNormal(noise.floats, RandomKey(seed: seed, stream: stream, index: 0))
    let stored = try Buffer(cache.storedBytes)
    convert(noise.readable, cache.type, to: stored.bytes, cache.stored)
    try caches.write(names[0], 0, stored.readable)
  }
}
