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

  /// A cold stream of one run. What runs before it, or still writes its state, is waited for.
  func stream(
    _ perform: @escaping @Sendable (RunControl, @escaping (RunEvent) -> Void) throws -> RunEvent?
  ) -> AsyncThrowingStream<RunEvent, any Error> {
    let control = RunControl(sensors: sensors, proceed: proceed)
    return coldStream(control) { [self] emit in
      // Who hears the last event may begin, discard or delete the run at once.
      if let last = try registered(control, { try perform(control, emit) }) { emit(last) }
    }
  }

  /// One run, known to those who pause while it works or waits for its turn.
  private func registered(_ control: RunControl, _ run: () throws -> RunEvent?) throws -> RunEvent? {
    runs.add(control)
    store.began(control)
    defer {
      store.ended(control)
      runs.remove(control)
      control.end()
    }
    return try oneAtATime.withLock(run)
  }

  func pause() async { await runs.pause() }

  /// Bytes of memory that a run takes: the largest of its programs, which are never resident together.
  func peakBytes(_ programs: [Name], stateBytes: Int) -> Int64 {
    let peaks = programs.map { name -> Int64 in
      guard let budget = bundle.manifest.budget[name] else { return Int64(2 * stateBytes) }
      return Int64(budget.measuredPeakBytes ?? budget.arenaBytes + budget.weightBytes + 2 * stateBytes)
    }
    return peaks.max() ?? 0
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

  func add(_ control: RunControl) { lock.withLock { controls.append(control) } }
  func remove(_ control: RunControl) { lock.withLock { controls.removeAll { $0 === control } } }

  /// Pauses all of them, and returns when they have ended. The one at work may be the one that others wait for.
  func pause() async {
    let controls = lock.withLock { self.controls }
    for control in controls { control.pause() }
    for control in controls { await waitForEnd(control) }
  }
}

/// Held by whatever opens sessions, so that no two programs are resident together. What waits for a run waits for at
/// most one step where a person's touch ends it: the device is no longer idle then.
private let oneAtATime = NSLock()

/// Works with programs on a thread of its own, when no other does. `body` is given what throws `CancellationError` once
/// the caller's task is canceled.
func withPrograms<Value: Sendable>(
  _ body: @escaping @Sendable (_ check: () throws -> Void) throws -> Value
) async throws -> Value {
  let canceled = Flag()
  return try await withTaskCancellationHandler {
    try await onThread {
      try oneAtATime.withLock {
        let check = { if canceled.isSet { throw CancellationError() } }
        try check()
        return try body(check)
      }
    }
  } onCancel: {
    canceled.set()
  }
}

/// Works on a thread of its own: Swift's few threads are not for what takes long.
func onThread<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value {
  try await withCheckedThrowingContinuation { continuation in
    let thread = Thread { continuation.resume(with: Result(catching: body)) }
    thread.stackSize = 8 << 20
    thread.start()
  }
}

/// What is set once, by any thread.
final class Flag: @unchecked Sendable {
  private let lock = NSLock()
  private var value = false

  var isSet: Bool { lock.withLock { value } }
  func set() { lock.withLock { value = true } }
}
