import Foundation

/// What a personalization will do, its settings checked.
struct PersonalizationPlan {
  private static let mostSteps = 10_000_000

  let bundle: ModelBundle
  let steps: Int
  let samples: Int
  let photos: Int
  let hyper: Numbers
  let checkpointEvery: Int
  let seed: UInt64
  /// Caches that the preparation fills, sorted.
  let caches: [Name]

  /// Throws `configInvalid`, `photosTooFew`.
  init(_ bundle: ModelBundle, _ settings: PersonalizationSettings, photos: Int) throws {
    func require(_ holds: Bool, _ what: String) throws {
      if !holds { throw PocketTuneError(.configInvalid, what) }
    }
    guard photos > 0 else { throw PocketTuneError(.photosTooFew, "there is no photo: give at least one") }
    let training = bundle.manifest.training
    self.bundle = bundle
    self.photos = photos
    steps = settings.steps ?? training.steps
    try require((1...PersonalizationPlan.mostSteps).contains(steps), "steps must be 1 to 10000000")
    let wanted = settings.samples ?? training.samples
    try require((1...PersonalizationPlan.mostSteps).contains(wanted), "samples must be 1 to 10000000")
    samples = min(wanted, steps)
    checkpointEvery = settings.checkpointEvery
    try require(checkpointEvery >= 1, "checkpointEvery must be at least 1")
    seed = settings.seed
    var hyper = training.hyper
    if let rate = settings.learningRate {
      try require((0...1e6).contains(rate), "learningRate must be 0 to 1e6")
      try require(hyper["learning_rate"] != nil, "this bundle's training takes no learning rate")
      hyper["learning_rate"] = rate
    }
    self.hyper = hyper
    let filled = try bundle.manifest.preparation.flatMap { try bundle.program($0).outputs.compactMap(\.binding.cache) }
    caches = Set(filled).sorted()
  }

  var items: [Scope: Int] { [.prompt: 1, .photo: photos, .sample: samples, .picture: 0] }

  var stateNames: Set<Name> {
    bundle.manifest.programs[bundle.manifest.training.program]!.state.union([bundle.manifest.adapter!.tensors])
  }

  func needs(_ context: RunContext) throws -> Needs {
    let state = TrainingState.bytes(bundle, stateNames)
    let cached = try CacheFile.plan(bundle, caches, items).values.map(\.end).max() ?? 0
    let adapter = TrainingState.bytes(bundle, [bundle.manifest.adapter!.tensors])
    return Needs(
      memoryBytes: context.peakBytes(
        bundle.manifest.preparation + [bundle.manifest.training.program], stateBytes: state),
      storageBytes: Int64(cached + 2 * (state + 4 * steps) + adapter))
  }

  /// What the caches depend on.
  func cacheIdentity(inputs: String, engine: String) -> Metadata {
    [
      "bundle_id": bundle.bundleID, "engine": engine, "inputs_sha256": inputs, "seed": String(seed),
      "samples": String(samples), "class_pictures": "0",
    ]
  }

  /// What the states depend on.
  func identity(inputs: String, engine: String) -> Metadata {
    var identity = cacheIdentity(inputs: inputs, engine: engine)
    identity["steps"] = String(steps)
    identity["prior_weight"] = "0"
    for (name, value) in hyper { identity[name] = shortestText(value) }
    return identity
  }

  func item(_ sample: Int) -> Item {
    var item = Item()
    (item.photo, item.sample) = (sample % photos, sample)
    return item
  }
}

/// One run of `Personalizer.personalize`.
struct PersonalizationRun {
  private let context: RunContext
  private let name: String
  private let photos: [Pixels]
  private let prompt: [Int64]
  private let plan: PersonalizationPlan

  /// Throws `photosTooFew`, `tensorMismatch`, `promptTooLong`, `configInvalid`.
  init(
    _ context: RunContext, _ name: String, _ photos: [Pixels], _ prompt: String, _ settings: PersonalizationSettings
  ) throws {
    self.context = context
    self.name = name
    self.photos = photos
    plan = try PersonalizationPlan(context.bundle, settings, photos: photos.count)
    for photo in photos { try photo.check(context.bundle.manifest.image!) }
    self.prompt = try context.bundle.tokenizer().encode(prompt)
  }

  private var manifest: Manifest { context.bundle.manifest }

  /// SHA-256 of the safetensors file that holds `input_ids` and `pixels` as PocketTune's tools write it.
  private func inputsDigest() throws -> String {
    let pixels = try Buffer(photos.reduce(0) { $0 + 4 * $1.values.count })
    var at = 0
    for photo in photos {
      photo.values.withUnsafeBytes { pixels.bytes[at..<(at + $0.count)].copyBytes(from: $0) }
      at += 4 * photo.values.count
    }
    return prompt.withUnsafeBytes { ids in
      let size = manifest.image!
      let tensors = [
        TensorView(name: "input_ids", type: .int64, shape: [1, prompt.count], bytes: ids),
        TensorView(
          name: "pixels", type: .float32, shape: [photos.count, 3, size.height, size.width], bytes: pixels.readable),
      ]
      var digest = Digest256()
      tensorFileHeader(tensorEntries(tensors), [:]).withUnsafeBytes { digest.update($0) }
      for tensor in tensors { digest.update(tensor.bytes) }
      return digest.hex()
    }
  }

  /// The whole run, on its thread. Gives the last event, for when nothing is held any more; nil: nobody listens.
  func perform(_ control: RunControl, _ emit: @escaping (RunEvent) -> Void) throws -> RunEvent? {
    let folder = try context.store.runFolder(name)
    let inputs = try inputsDigest()
    let checkpoints = Checkpoints(
      work: "\(folder)/work", identity: plan.identity(inputs: inputs, engine: context.engine.name))
    let needs = try plan.needs(context)
    let failing = context.start.failing(context.sensors.read(), needs)
    guard failing.isEmpty else { return .stopped(step: try checkpoints.newestStep(), failing: failing) }
    try context.store.requireRoom(for: needs.storageBytes, at: folder)
    try makeFolder(checkpoints.work)
    let lock = try FolderLock(checkpoints.work)
    defer { withExtendedLifetime(lock) {} }
    try removeTemporaryFiles([folder, checkpoints.work])
    let state = try TrainingState(context.bundle, plan.stateNames)
    let loop = try TrainingLoop(
      name: name, folder: folder, checkpoints: checkpoints, state: state, total: plan.steps,
      checkpointEvery: plan.checkpointEvery, control: control, clock: context.clock, emit: emit)
    do {
      return .finished(try work(loop, plan.cacheIdentity(inputs: inputs, engine: context.engine.name), emit))
    } catch let halt as Halt {
      return halt.failing.map { .stopped(step: loop.step, failing: $0) }
    }
  }

  private func work(
    _ loop: TrainingLoop, _ identity: Metadata, _ emit: (RunEvent) -> Void
  ) throws -> RunResult {
    let begin = context.clock.seconds()
    let caches = try CacheFile(
      "\(loop.checkpoints.work)/cache.bin", context.bundle, plan.caches, items: plan.items, identity: identity
    ) { emit(.damaged(file: $0)) }
    let batch = PhotoBatch(prompts: [prompt, manifest.text!.unconditional], photos: photos)
    if !caches.isComplete { try prepare(caches, batch, loop, emit) }
    let preparationSeconds = context.clock.seconds() - begin
    if loop.step < loop.total {
      let executor = try executor(loop.state, batch, caches)
      try loop.run(executor) { plan.item($0 % plan.samples) }
    }
    return try conclude(loop, batch, caches, preparationSeconds)
  }

  private func executor(_ state: TrainingState, _ batch: PhotoBatch, _ caches: CacheFile) throws -> Executor {
    try Executor(
      context.engine, context.bundle, try context.bundle.program(manifest.training.program), seed: plan.seed,
      hyper: plan.hyper, batch: batch, state: state, caches: caches)
  }

  /// What the frozen net says about every photo, prompt and sample, computed once before training.
  private func prepare(
    _ caches: CacheFile, _ batch: PhotoBatch, _ loop: TrainingLoop, _ emit: (RunEvent) -> Void
  ) throws {
    let programs = try manifest.preparation.map { try context.bundle.program($0) }
    let state = try TrainingState(context.bundle, programs.reduce(into: []) { $0.formUnion($1.state) })
    for program in programs {
      let scope = program.outputs.compactMap(\.binding.cache).compactMap { manifest.caches[$0]?.scope }.first
      guard let scope, scope != .picture else {
        throw PocketTuneError(
          .bundleManifestInvalid,
          "preparation program '\(program.name)' must fill caches of one scope: prompt, photo or sample; export the "
            + "bundle again")
      }
      let executor = try Executor(
        context.engine, context.bundle, program, seed: plan.seed, hyper: plan.hyper, batch: batch, state: state,
        caches: caches)
      let total = plan.items[scope]!
      for index in 0..<total {
        try loop.check()
        var item = scope == .sample ? plan.item(index) : Item()
        if scope == .photo { item.photo = index }
        try executor.run(item)
        emit(.prepared(program: program.name, done: index + 1, total: total))
      }
    }
    try caches.finish()
  }

  /// The gate: an adapter that is worse than what it began from is not kept.
  private func conclude(
    _ loop: TrainingLoop, _ batch: PhotoBatch, _ caches: CacheFile, _ preparationSeconds: Double
  ) throws -> RunResult {
    let pack = manifest.adapter!.tensors
    let initial = try TrainingState(context.bundle, plan.stateNames)
    let change = try change(from: initial.now(pack), to: loop.state.now(pack), "adapter")
    let lossBefore = try meanLoss(initial, batch, caches, loop)
    let lossAfter = try meanLoss(loop.state, batch, caches, loop)
    let result = try loop.finish(
      change: change, before: lossBefore, after: lossAfter, changeName: "adapter_change",
      ["preparation_seconds": .double(preparationSeconds)])
    if result.accepted {
      try context.store.keepAdapter(name) { path in
        try manifest.tensors[pack]!.writeViews(path, loop.state.now(pack), manifest.adapter!.metadata)
      }
    }
    return result
  }

  /// Over the first 8 samples; the state stays as it is.
  private func meanLoss(
    _ state: TrainingState, _ batch: PhotoBatch, _ caches: CacheFile, _ loop: TrainingLoop
  ) throws -> Double {
    let executor = try executor(state, batch, caches)
    let losses = try (0..<min(plan.samples, 8)).map { sample in
      try loop.check()
      try executor.run(plan.item(sample), keepsState: false)
      return try executor.loss()
    }
    return mean(losses)
  }
}
