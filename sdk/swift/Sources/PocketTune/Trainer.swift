import Foundation

/// How a classification run trains. Members that are nil are the bundle's.
public struct TrainingSettings: Sendable, Equatable {
  /// 1 to 2^20 - 1; nil: `epochs` of them.
  public var steps: Int?
  /// Passes over the examples, in place of `steps`; nil: the bundle's.
  public var epochs: Int?
  /// What all randomness is drawn from: the same seed, the same bytes.
  public var seed: UInt64 = 0
  /// Of a federation: below 2^20.
  public var round = 0
  /// Of a federation: below 2^24.
  public var client = 0
  /// 0 to 1e6.
  public var learningRate: Double?
  /// Steps between two saved states.
  public var checkpointEvery = 25
  /// Parameters to begin from (one tensor a view); nil: the bundle's.
  public var parameters: URL?

  /// The bundle's own settings.
  public init() {}
}

/// Before a run begins: whether it may, and what it will take.
public enum Preflight: Sendable, Equatable {
  /// `peakBytes` of memory; `expectedSeconds` is nil when nobody measured a step.
  case go(peakBytes: Int64, expectedSeconds: Double?)
  /// It may not begin now; all that fails, in order.
  case blocked([FailingCondition])
}

/// How good parameters are on examples.
public struct Score: Sendable, Equatable {
  /// How many.
  public let examples: Int
  /// Mean cross-entropy in nats.
  public let loss: Double
  /// Share of right answers.
  public let accuracy: Double
}

/// Trains, evaluates and predicts with a classification bundle on the app's own examples.
///
///     let trainer = try Trainer(bundle: bundle, store: store, engine: ExecuTorchEngine(), sensors: sensors)
///     for try await event in trainer.train("gestures", examples, validation: held) { print(event) }
///     let logits = try await trainer.predict(inputs, parameters: store.adapter("gestures"))
public actor Trainer {
  nonisolated let context: RunContext
  nonisolated let task: Classification

  /// What it trains.
  public nonisolated var bundle: ModelBundle { context.bundle }

  /// A trainer of one bundle. `start` must hold for a run to begin, `proceed` before each of its steps.
  ///
  /// Throws `configInvalid` for a bundle of another task and for conditions that never hold, `engineVersionMismatch`.
  public init(
    bundle: ModelBundle, store: Store, engine: any Engine, sensors: any Sensors, clock: any RunClock = SystemClock(),
    start: Conditions = .start, proceed: Conditions = .proceed
  ) throws {
    try bundle.requireTask("classification")
    try engine.checkVersion(of: bundle)
    for conditions in [start, proceed] { try conditions.check() }
    task = bundle.manifest.classification!
    context = RunContext(
      bundle: bundle, store: store, engine: engine, sensors: sensors, clock: clock, start: start, proceed: proceed)
  }

  /// Trains under a name, or goes on where a run of that name stopped. Nothing happens before the events are iterated, and
  /// one iteration is one run. An accepted run's parameters are `store.adapter(name)`.
  ///
  /// The last event is `stopped` or `finished`. Throws `configInvalid`, `tensorMismatch`, `dataInvalid`,
  /// `stateMismatch`, `lossNotFinite`, `adapterUnchanged`, `quotaExceeded`, `diskFull`, `ioFailed` and what engines
  /// throw.
  public nonisolated func train(
    _ name: String, _ examples: Examples, settings: TrainingSettings = TrainingSettings(), validation: Examples? = nil
  ) -> RunEvents {
    let run = ClientRun(context, task, name, examples, settings, validation ?? examples)
    return context.events(name, run.perform)
  }

  /// Lets the step under way end, writes the state, ends the run with `stopped`, and returns then.
  public func pause() async { await context.pause() }

  /// Whether a run of these settings may begin now. Does no work.
  public nonisolated func preflight(
    _ examples: Examples, settings: TrainingSettings = TrainingSettings()
  ) throws -> Preflight {
    try ClientRun(context, task, "preflight", examples, settings, examples).preflight()
  }

  /// Forgets a run: its states and its result, not what it taught. Throws `ioFailed` while it works.
  public func discard(_ name: String) async throws {
    let store = context.store
    try await onThread { try store.discardRun(name) }
  }

  /// Mean loss and accuracy of parameters (nil: the bundle's) on examples. A run that works is waited for. Throws
  /// `dataInvalid`, `tensorMismatch`, and `CancellationError` before the next batch when its task is canceled.
  public func evaluate(_ examples: Examples, parameters: URL? = nil) async throws -> Score {
    let (context, task) = (context, task)
    return try await withPrograms { check in
      try examples.check(task)
      return try Evaluation(context, task).score(
        examples, try context.clientState(task, parameters?.path), check: check)
    }
  }

  /// Logits of inputs, float32 `[n, ...inputShape]`, for parameters (nil: the bundle's), by the program whose weights
  /// have that many bits: `[n][classes]`. A run that works is waited for. Throws `programMissing` when the bundle has
  /// none, and `CancellationError`.
  public func predict(_ inputs: [Float], parameters: URL? = nil, bits: Int = 32) async throws -> [[Float]] {
    let (context, task) = (context, task)
    return try await withPrograms { check in
      let row = elementCount(task.inputShape)!
      let examples = Examples(
        inputs: inputs, shape: task.inputShape, labels: [Int](repeating: 0, count: inputs.count / row))
      try examples.check(task)
      return try Evaluation(context, task).logits(
        examples, try context.clientState(task, parameters?.path), bits: bits, check: check)
    }
  }
}
