import Foundation

/// What all runs of a trainer or personalizer share.
final class RunContext: Sendable {
  let bundle: ModelBundle
  let store: Store
  let engine: any Engine
  let sensors: any Sensors
  let clock: any RunClock
  let start: Conditions
  let proceed: Conditions
  private let runs = ActiveRuns()

  init(
    bundle: ModelBundle, store: Store, engine: any Engine, sensors: any Sensors, clock: any RunClock,
    start: Conditions, proceed: Conditions
  ) {
    self.bundle = bundle
    self.store = store
    self.engine = engine
    self.sensors = sensors
    self.clock = clock
    self.start = start
    self.proceed = proceed
  }

  /// The run of that name, as often as it is iterated. What runs before it, or still writes its state, is waited for.
  func events(
    _ name: String,
    _ perform: @escaping @Sendable (RunControl, @escaping (RunEvent) -> Void) throws -> RunEvent?
  ) -> RunEvents {
    RunEvents { [self] in
      let control = RunControl(sensors: sensors, proceed: proceed)
      // Known to those who pause from its first moment on, while it waits for its turn too.
      let begin = { @Sendable [self] in
        try store.runs.add(control)
        try runs.add(control)
      }
      let end = { @Sendable [self] in
        store.runs.remove(control)
        runs.remove(control)
      }
      return RunSource(control, begin: begin, end: end) { [self] emit in
        // Who hears the last event may begin, discard or delete the run at once.
        let last = try oneAtATime.take(unless: { control.isStopping }) { try perform(control, emit) }
        switch last {
        case .some(let event): if let event { emit(event) }
        case .none: if !control.isCanceled { emit(.stopped(step: try savedStep(name), failing: [])) }
        }
      }
    }
  }

  /// What a run of that name has saved; 0 when it has nothing.
  func savedStep(_ name: String) throws -> Int {
    try Checkpoints(work: "\(try store.runFolder(name))/work", identity: [:]).savedStep()
  }

  func pause() async { await runs.pause() }

  /// Bytes of memory that a run takes: the largest of its programs, which are never resident together.
  func peakBytes(_ programs: [Name], stateBytes: Int) -> Int64 {
    let peaks = programs.map { name -> Int64 in
      guard let budget = bundle.manifest.budget[name] else { return Int64(2 * stateBytes) }
      return Int64(budget.measuredPeakBytes ?? budget.arenaBytes + budget.weightBytes + 2 * stateBytes)
    }
    return max(0, peaks.max() ?? 0)
  }

  func preflight(_ needs: Needs, steps: Int) -> Preflight {
    let failing = start.failing(sensors.read(), needs)
    guard failing.isEmpty else { return .blocked(failing) }
    let seconds = bundle.manifest.budget[bundle.manifest.training.program]?.measuredSeconds
    return .go(peakBytes: needs.memoryBytes, expectedSeconds: seconds.map { $0 * Double(steps) })
  }
}

/// Runs that work, or wait for their turn.
final class ActiveRuns: @unchecked Sendable {
  private let lock = NSLock()
  private var controls: [RunControl] = []
  private var deletions = 0

  /// Throws `ioFailed` while personal data is deleted.
  func add(_ control: RunControl) throws {
    try lock.withLock {
      guard deletions == 0 else {
        throw PocketTuneError(.ioFailed, "personal data is being deleted: begin again afterwards")
      }
      controls.append(control)
    }
  }

  func remove(_ control: RunControl) { lock.withLock { controls.removeAll { $0 === control } } }

  /// Pauses all of them, and returns when they have ended. The one at work may be the one that others wait for.
  func pause() async {
    let controls = lock.withLock { self.controls }
    for control in controls { control.pause() }
    for control in controls { await waitForEnd(control) }
  }

  /// Calls `body` when all have ended; none begins before it returns.
  func withoutAny<Value>(_ body: () async throws -> Value) async rethrows -> Value {
    lock.withLock { deletions += 1 }
    defer { lock.withLock { deletions -= 1 } }
    await pause()
    return try await body()
  }
}
