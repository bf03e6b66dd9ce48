/// What parameters say about examples: the programs that evaluate and predict.
struct Evaluation {
  private let context: RunContext
  private let task: Classification

  init(_ context: RunContext, _ task: Classification) {
    self.context = context
    self.task = task
  }

  /// Mean loss and accuracy over all examples, in order. `check` is called before every batch. Throws `lossNotFinite`.
  func score(_ examples: Examples, _ state: TrainingState, check: () throws -> Void) throws -> Score {
    var (loss, right) = (0.0, 0.0)
    try eachBatch(try context.bundle.program(task.evaluateProgram), examples, state) { executor, _ in
      try check()
      try executor.run(Item())
      loss += Double(try executor.metric("loss_sum"))
      right += Double(try executor.metric("right"))
    }
    guard loss.isFinite else {
      throw PocketTuneError(.lossNotFinite, "the model's loss is not finite: use other parameters than these")
    }
    let count = Double(examples.count)
    guard (0...count).contains(right) else {
      throw PocketTuneError(
        .bundleManifestInvalid,
        "program '\(task.evaluateProgram.short)' counts \(right) right answers of \(count): export the bundle again")
    }
    return Score(examples: examples.count, loss: loss / count, accuracy: right / count)
  }

  /// Logits of every example.
  func logits(
    _ examples: Examples, _ state: TrainingState, bits: Int, check: () throws -> Void
  ) throws -> [[Float]] {
    let programs = task.predictPrograms.filter { $0.value == bits }.keys.sorted()
    guard let name = programs.first else {
      let known = Set(task.predictPrograms.values).sorted().map(String.init).joined(separator: ", ")
      throw PocketTuneError(.programMissing, "the bundle predicts with no \(bits) bits: it has \(known)")
    }
    let program = try context.bundle.program(name)
    let state = try TrainingState(context.bundle, program.state.union([task.parameters])).adopting(state, task)
    var rows: [[Float]] = []
    try eachBatch(program, examples, state) { executor, count in
      try check()
      try executor.run(Item())
      let output = try executor.output()
      guard output.count == task.batchSize * task.classes else {
        throw PocketTuneError(
          .bundleManifestInvalid,
          "program '\(name.short)' gives \(output.count) numbers, and a batch has \(task.batchSize * task.classes) "
            + "logits: export the bundle again")
      }
      for row in 0..<count { rows.append(Array(output[(row * task.classes)..<((row + 1) * task.classes)])) }
    }
    return rows
  }

  private func eachBatch(
    _ program: Program, _ examples: Examples, _ state: TrainingState, _ use: (Executor, Int) throws -> Void
  ) throws {
    let batches = ExampleBatches(examples, task)
    let executor = try Executor(
      context.engine, context.bundle, program, seed: 0, hyper: [:], batch: batches, state: state, caches: MemoryCache())
    let order = Array(0..<examples.count)
    for batch in 0..<batches.perEpoch {
      batches.choose(batch, of: order)
      try use(executor, min(task.batchSize, examples.count - batch * task.batchSize))
    }
  }
}

extension TrainingState {
  /// With the parameters of another state.
  fileprivate func adopting(_ other: TrainingState, _ task: Classification) -> TrainingState {
    now(task.parameters).bytes.copyMemory(from: other.now(task.parameters).readable)
    return self
  }
}
