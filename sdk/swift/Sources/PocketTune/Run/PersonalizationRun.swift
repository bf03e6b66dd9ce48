import Foundation

/// One run of `Personalizer.personalize`.
struct PersonalizationRun: Sendable {
  private let context: RunContext
  private let name: String
  private let photoCount: Int
  private let photos: @Sendable (ImageSize) -> [Pixels]
  private let prompt: String
  private let settings: PersonalizationSettings

  /// `photos` are made when they are needed, on the run's thread.
  init(
    _ context: RunContext, _ name: String, photos count: Int, _ photos: @escaping @Sendable (ImageSize) -> [Pixels],
    _ prompt: String, _ settings: PersonalizationSettings
  ) {
    self.context = context
    self.name = name
    photoCount = count
    self.photos = photos
    self.prompt = prompt
    self.settings = settings
  }

  private var manifest: Manifest { context.bundle.manifest }

  /// Throws `outOfMemory`, `tensorMismatch`, `promptTooLong`.
  private func subject() throws -> Subject {
    let size = manifest.image!
    // The size is the manifest's, and Swift's own allocation would end the app.
    let bytes = byteCount([photoCount, 3, size.height, size.width], .float32)
    guard let bytes, bytes < ProcessInfo.processInfo.physicalMemory else {
      throw PocketTuneError(
        .outOfMemory,
        "\(photoCount) photos of \(size.width) x \(size.height) pixels do not fit into memory: use another bundle")
    }
    let photos = photos(size)
    for photo in photos { try photo.check(size) }
    let tokenizer = try context.bundle.tokenizer()
    let prompts = [prompt] + (settings.classPrompt.map { [$0] } ?? [])
    return Subject(photos: photos, prompts: try prompts.map(tokenizer.encode))
  }

  /// The whole run, on its thread. Gives the last event, for when nothing is held any more; nil: nobody listens.
  func perform(_ control: RunControl, _ emit: @escaping (RunEvent) -> Void) throws -> RunEvent? {
    let folder = try context.store.runFolder(name)
    let plan = try PersonalizationPlan(context.bundle, settings, photos: photoCount)
    let needs = try plan.needs(context)
    let failing = context.start.failing(context.sensors.read(), needs)
    guard failing.isEmpty else {
      return .stopped(step: try context.savedStep(name), failing: failing)
    }
    let subject = try subject()
    let inputs = try subject.digest(manifest.image!)
    let checkpoints = Checkpoints(
      work: "\(folder)/work", identity: plan.identity(inputs: inputs, engine: context.engine.name))
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
      let work = PersonalizationWork(context: context, name: name, plan: plan, subject: subject, loop: loop)
      return .finished(try work.perform(plan.cacheIdentity(inputs: inputs, engine: context.engine.name), emit))
    } catch let halt as Halt {
      return halt.failing.map { .stopped(step: loop.step, failing: $0) }
    }
  }
}

/// What a run does once it may: prepares, trains, and looks at what came of it.
struct PersonalizationWork {
  let context: RunContext
  let name: String
  let plan: PersonalizationPlan
  let subject: Subject
  let loop: TrainingLoop

  private var manifest: Manifest { context.bundle.manifest }

  func perform(_ identity: Metadata, _ emit: @escaping (RunEvent) -> Void) throws -> RunResult {
    let begin = context.clock.seconds()
    let caches = try CacheFile(
      "\(loop.checkpoints.work)/cache.bin", context.bundle, plan.caches, items: plan.items, identity: identity
    ) { emit(.damaged(file: $0)) }
    let batch = PhotoBatch(prompts: subject.prompts + [manifest.text!.unconditional], photos: subject.photos)
    if !caches.isComplete {
      try Preparation(context: context, plan: plan, batch: batch, check: loop.check, emit: emit).fill(caches)
    }
    let preparationSeconds = context.clock.seconds() - begin
    if loop.step < loop.total {
      let executor = try executor(loop.state, batch, caches)
      try loop.run(executor) { plan.item($0 % plan.samples) }
    }
    return try conclude(batch, caches, preparationSeconds)
  }

  private func executor(_ state: TrainingState, _ batch: PhotoBatch, _ caches: CacheFile) throws -> Executor {
    try Executor(
      context.engine, context.bundle, try context.bundle.program(manifest.training.program), seed: plan.seed,
      hyper: plan.hyper, batch: batch, state: state, caches: caches)
  }

  /// The gate: an adapter that is worse than what it began from is not kept.
  private func conclude(
    _ batch: PhotoBatch, _ caches: CacheFile, _ preparationSeconds: Double
  ) throws -> RunResult {
    let pack = manifest.adapter!.tensors
    let initial = try TrainingState(context.bundle, plan.stateNames)
    let change = try change(from: initial.now(pack), to: loop.state.now(pack), "adapter")
    let lossBefore = try meanLoss(initial, batch, caches)
    let lossAfter = try meanLoss(loop.state, batch, caches)
    return try loop.finish(
      change: change, before: lossBefore, after: lossAfter, changeName: "adapter_change",
      ["preparation_seconds": .double(preparationSeconds)]
    ) {
      try context.store.keepAdapter(name) { path in
        try manifest.tensors[pack]!.writeViews(path, loop.state.now(pack), manifest.adapter!.metadata)
      }
    }
  }

  /// Over the first 8 samples; the state stays as it is.
  private func meanLoss(_ state: TrainingState, _ batch: PhotoBatch, _ caches: CacheFile) throws -> Double {
    let executor = try executor(state, batch, caches)
    let losses = try (0..<min(plan.samples, 8)).map { sample in
      try loop.check()
      try executor.run(plan.item(sample), keepsState: false)
      return try executor.loss()
    }
    return mean(losses)
  }
}
