/// Tokenized prompts, the unconditional one last, and photos.
final class PhotoBatch: BatchSource {
  let prompts: [[Int64]]
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

extension PhotoBatch {
  /// Which prompt stands for none.
  var unconditional: Int { prompts.count - 1 }
}

extension Manifest {
  /// Names of the state tensors that generation reads.
  var generationState: Set<Name> {
    let names = [generation!.promptProgram, generation!.stepProgram, generation!.outputProgram]
    return names.reduce(into: []) { $0.formUnion(programs[$1]!.state) }
  }

  /// The cache that holds a picture while it is made. Throws `bundleManifestInvalid` when there is not exactly one.
  func pictureCache() throws -> (Name, Cache) {
    let names = programs[generation!.stepProgram]!.outputs.compactMap(\.binding.cache)
    guard names.count == 1, let cache = caches[names[0]], cache.scope == .picture, cache.type == .float32,
      cache.initialStream != nil
    else {
      throw PocketTuneError(
        .bundleManifestInvalid,
        "the generation step must update one float32 cache of scope picture that begins as random.normal: export the "
          + "bundle again")
    }
    return (names[0], cache)
  }
}

/// Makes pictures out of noise (`spec/bundle.md`, 5), up to their latents, which it leaves in the cache of pictures. One
/// program at a time is in memory.
struct Denoising {
  let context: RunContext
  /// Its last prompt is the unconditional one.
  let batch: PhotoBatch
  let state: TrainingState
  let caches: MemoryCache
  let seed: UInt64
  let hyper: Numbers

  func executor(_ program: Name) throws -> Executor {
    try Executor(
      context.engine, context.bundle, try context.bundle.program(program), seed: seed, hyper: hyper, batch: batch,
      state: state, caches: caches)
  }

  /// A picture for each of `prompts`, by its place in the batch. `check` is called before every step, `stepped` behind
  /// it, with how many are done. Throws `bundleManifestInvalid` for more steps than the sampler has.
  func pictures(
    _ prompts: [Int], steps: Int, check: () throws -> Void, stepped: (Int) -> Void = { _ in }
  ) throws {
    let manifest = context.bundle.manifest
    let generation = manifest.generation!
    guard (1...generation.trainTimesteps).contains(steps) else {
      throw PocketTuneError(
        .bundleManifestInvalid,
        "generation has \(steps) steps, more than its \(generation.trainTimesteps) timesteps: export the bundle again")
    }
    try encode(Set(prompts).union([batch.unconditional]).sorted(), generation.promptProgram)
    let program = try executor(generation.stepProgram)
    var done = 0
    for (picture, prompt) in prompts.enumerated() {
      try drawFirstLatents(picture)
      var item = Item()
      (item.picture, item.prompt, item.unconditional) = (picture, prompt, batch.unconditional)
      for timestep in generation.timesteps(steps) {
        try check()
        item.timestep = timestep
        try program.run(item)
        done += 1
        stepped(done)
      }
    }
  }

  private func encode(_ prompts: [Int], _ program: Name) throws {
    let program = try executor(program)
    for prompt in prompts {
      var item = Item()
      item.prompt = prompt
      try program.run(item)
    }
  }

  private func drawFirstLatents(_ picture: Int) throws {
    let (name, cache) = try context.bundle.manifest.pictureCache()
    let noise = try Buffer(cache.bytes)
    Philox.fillNormal(noise.floats, RandomKey(seed: seed, stream: cache.initialStream!, index: UInt64(picture)))
    let stored = try Buffer(cache.storedBytes)
    convert(noise.readable, cache.type, to: stored.bytes, cache.stored)
    try caches.write(name, picture, stored.readable)
  }
}

/// Draws one picture for an app.
struct Drawing {
  private let context: RunContext

  init(_ context: RunContext) { self.context = context }

  /// `check` is called before every step.
  func picture(
    _ prompt: String, adapter: String?, seed: UInt64, steps: Int?, guidance: Double?, check: () throws -> Void
  ) throws -> RGBImage {
    let manifest = context.bundle.manifest
    let generation = manifest.generation!
    if let steps { try require("steps", steps, 1...generation.trainTimesteps) }
    if let guidance { try require("guidance", guidance, 0...1000) }
    var hyper = generation.hyper
    if let guidance { hyper["guidance"] = guidance }
    let batch = PhotoBatch(prompts: [try context.bundle.tokenizer().encode(prompt), manifest.text!.unconditional])
    let pack = manifest.adapter!.tensors
    let state = try TrainingState(context.bundle, manifest.generationState.union([pack]))
    if let adapter { try manifest.tensors[pack]!.readViews(adapter, into: state.now(pack)) }
    let denoising = Denoising(
      context: context, batch: batch, state: state, caches: MemoryCache(), seed: seed, hyper: hyper)
    try denoising.pictures([0], steps: steps ?? generation.steps, check: check)
    let decoder = try denoising.executor(generation.outputProgram)
    try decoder.run(Item())
    return try RGBImage(try decoder.output(), manifest.image!)
  }
}
