import Foundation

/// One run of `Trainer.train`.
struct ClientRun: Sendable {
  private static let mostSteps = 1 << 20 - 1
  private static let orderStream: UInt32 = 49

  private let context: RunContext
  private let task: Classification
  private let name: String
  private let examples: Examples
  private let settings: TrainingSettings
  private let validation: Examples

  init(
    _ context: RunContext, _ task: Classification, _ name: String, _ examples: Examples, _ settings: TrainingSettings,
    _ validation: Examples
  ) {
    self.context = context
    self.task = task
    self.name = name
    self.examples = examples
    self.settings = settings
    self.validation = validation
  }

  private var manifest: Manifest { context.bundle.manifest }
  private var training: Program { manifest.programs[manifest.training.program]! }

  /// Checks the settings; gives the steps of the run.
  private func checkedSteps() throws -> Int {
    try examples.requireSome()
    guard settings.steps == nil || settings.epochs == nil else {
      throw PocketTuneError(.configInvalid, "steps and epochs are given: give one of them")
    }
    if let epochs = settings.epochs { try require("epochs", epochs, 1...ClientRun.mostSteps) }
    try require("round", settings.round, 0...(1 << 20 - 1))
    try require("client", settings.client, 0...(1 << 24 - 1))
    try require("checkpointEvery", settings.checkpointEvery, 1...ClientRun.mostSteps)
    if let rate = settings.learningRate { try require("learningRate", rate, 0...1e6) }
    let perEpoch = ExampleBatches(examples, task).perEpoch
    let (product, overflow) = (settings.epochs ?? task.epochs).multipliedReportingOverflow(by: perEpoch)
    let steps = settings.steps ?? (overflow ? .max : product)
    try require("steps", steps, 1...ClientRun.mostSteps)
    return steps
  }

  private var hyper: Numbers {
    var hyper = manifest.training.hyper
    if let rate = settings.learningRate { hyper["learning_rate"] = rate }
    return hyper
  }

  private func identity(_ steps: Int) throws -> Metadata {
    var identity: Metadata = [
      "bundle_id": manifest.bundleID, "engine": context.engine.name, "inputs_sha256": examples.fileDigest(),
      "seed": String(settings.seed),
      "state_sha256": try settings.parameters.map { try TensorFile($0.path).fileDigest() } ?? "",
      "round": String(settings.round), "client": String(settings.client), "steps": String(steps),
    ]
    for (name, value) in hyper { identity[name] = shortestText(value) }
    return identity
  }

  private func needs(_ steps: Int) -> Needs {
    let names = training.state.union([task.parameters])
    let state = TrainingState.bytes(context.bundle, names)
    let checkpoint = state + 4 * steps
    return Needs(
      memoryBytes: context.peakBytes([manifest.training.program, task.evaluateProgram], stateBytes: state),
      storageBytes: Int64(2 * checkpoint + TrainingState.bytes(context.bundle, [task.parameters])))
  }

  func preflight() throws -> Preflight {
    let steps = try checkedSteps()
    try examples.check(task)
    return context.preflight(needs(steps), steps: steps)
  }

  /// The whole run, on its thread. Gives the last event, for when nothing is held any more; nil: nobody listens.
  func perform(_ control: RunControl, _ emit: @escaping (RunEvent) -> Void) throws -> RunEvent? {
    let folder = try context.store.runFolder(name)
    let steps = try checkedSteps()
    let failing = context.start.failing(context.sensors.read(), needs(steps))
    guard failing.isEmpty else {
      return .stopped(step: try context.savedStep(name), failing: failing)
    }
    try examples.check(task)
    try validation.check(task)
    let checkpoints = Checkpoints(work: "\(folder)/work", identity: try identity(steps))
    try context.store.requireRoom(for: needs(steps).storageBytes, at: folder)
    try makeFolder(checkpoints.work)
    let lock = try FolderLock(checkpoints.work)
    defer { withExtendedLifetime(lock) {} }
    try removeTemporaryFiles([folder, checkpoints.work])
    let state = try context.clientState(task, settings.parameters?.path, training.state)
    let before = try state.now(task.parameters).copy()
    let loop = try TrainingLoop(
      name: name, folder: folder, checkpoints: checkpoints, state: state, total: steps,
      checkpointEvery: settings.checkpointEvery, control: control, clock: context.clock, emit: emit)
    do {
      try train(loop)
      return .finished(try conclude(loop, before))
    } catch let halt as Halt {
      return halt.failing.map { .stopped(step: loop.step, failing: $0) }
    }
  }

  private func train(_ loop: TrainingLoop) throws {
    guard loop.step < loop.total else { return }
    let batches = ExampleBatches(examples, task)
    let executor = try Executor(
      context.engine, context.bundle, training, seed: settings.seed, hyper: hyper, batch: batches, state: loop.state,
      caches: MemoryCache())
    var epoch = -1
    var order: [Int] = []
    try loop.run(executor) { step in
      if step / batches.perEpoch != epoch {
        epoch = step / batches.perEpoch
        order = Philox.permutation(
          RandomKey(seed: settings.seed, stream: ClientRun.orderStream, index: item(epoch).index(.step)),
          length: batches.count)
      }
      batches.choose(step % batches.perEpoch, of: order)
      return item(step)
    }
  }

  private func item(_ step: Int) -> Item {
    var item = Item()
    (item.step, item.round, item.client) = (step, settings.round, settings.client)
    return item
  }

  /// The gate: parameters that are worse than those of before are not kept.
  private func conclude(_ loop: TrainingLoop, _ before: Buffer) throws -> RunResult {
    let change = try change(from: before, to: loop.state.now(task.parameters), "model")
    let evaluation = Evaluation(context, task)
    let old = try context.clientState(task, settings.parameters?.path)
    let new = try context.clientState(task, settings.parameters?.path)
    new.now(task.parameters).bytes.copyMemory(from: loop.state.now(task.parameters).readable)
    let lossBefore = try evaluation.score(validation, old, check: loop.check).loss
    let lossAfter = try evaluation.score(validation, new, check: loop.check).loss
    return try loop.finish(
      change: change, before: lossBefore, after: lossAfter, changeName: "change",
      ["examples": .integer(Int64(examples.count))]
    ) {
      try context.store.keepAdapter(name) { path in
        try manifest.tensors[task.parameters]!.writeViews(
          path, loop.state.now(task.parameters), ["bundle_id": manifest.bundleID])
      }
    }
  }
}

extension RunContext {
  /// The state of a client: parameters from a file, or the bundle's.
  func clientState(_ task: Classification, _ file: String?, _ names: Set<Name>? = nil) throws -> TrainingState {
    let names = names ?? bundle.manifest.programs[task.evaluateProgram]!.state
    let state = try TrainingState(bundle, names.union([task.parameters]))
    if let file {
      try bundle.manifest.tensors[task.parameters]!.readViews(file, into: state.now(task.parameters))
    }
    return state
  }
}
