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
  private let current = Current()

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
    _ perform: @escaping @Sendable (RunControl, @escaping (RunEvent) -> Void) throws -> Void
  ) -> AsyncThrowingStream<RunEvent, any Error> {
    let control = RunControl(sensors: sensors, proceed: proceed)
    return coldStream(onCancel: control.cancel) { [self] emit in
      current.set(control)
      store.began(control)
      defer {
        store.ended(control)
        control.end()
      }
      try oneAtATime.withLock { try perform(control, emit) }
    }
  }

  func pause() async {
    guard let control = current.get() else { return }
    control.pause()
    await waitForEnd(control)
  }

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

private final class Current: @unchecked Sendable {
  private let lock = NSLock()
  private var control: RunControl?

  func get() -> RunControl? { lock.withLock { control } }

  func set(_ next: RunControl) { lock.withLock { control = next } }
}

/// Held by whatever opens sessions, so that no two programs are resident together. What waits for a run waits for at
/// most one step where a person's touch ends it: the device is no longer idle then.
private let oneAtATime = NSLock()

/// Works with programs on a thread of its own: Swift's few threads are not for what takes long. Waits for a run.
func onThread<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value {
  try await withCheckedThrowingContinuation { continuation in
    let thread = Thread { continuation.resume(with: Result { try oneAtATime.withLock(body) }) }
    thread.stackSize = 8 << 20
    thread.start()
  }
}
