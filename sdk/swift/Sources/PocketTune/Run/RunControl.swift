import Foundation

/// What a run says while it works.
public enum RunEvent: Sendable, Equatable {
  /// It goes on behind that many steps.
  case resumed(step: Int)
  /// A program of the preparation has run for `done` of `total` items.
  case prepared(program: String, done: Int, total: Int)
  /// `step` of `total` is done; `seconds` of wall time.
  case stepped(step: Int, total: Int, loss: Float, seconds: Double)
  /// The state behind that step is on the disk.
  case checkpointed(step: Int)
  /// A state or cache that is not used; what it held is computed again.
  case damaged(file: String)
  /// The last event of a run that did not end: `step` is saved. Empty `failing`: `pause()` was called.
  case stopped(step: Int, failing: [FailingCondition])
  /// The last event of a run that did.
  case finished(RunResult)
}

/// What a run gave: `result.json` of its folder.
public struct RunResult: Sendable, Equatable {
  /// How many it was of.
  public let steps: Int
  /// One for each step.
  public let losses: [Float]
  /// Mean of the first 20 losses.
  public let lossFirst: Double
  /// Mean of the last 20 losses.
  public let lossLast: Double
  /// L2 norm of what training changed.
  public let change: Double
  /// Mean loss of what it began from: a run that is worse is not accepted.
  public let evaluationBefore: Double
  /// Mean loss of what was trained.
  public let evaluationAfter: Double
  /// Whether what was trained is kept.
  public let accepted: Bool
  /// The step behind which this session went on; nil: it began anew.
  public let resumedFrom: Int?
  /// Median of the steps of this session; 0 when it had none.
  public let secondsPerStep: Double
  /// Largest resident memory of the process so far.
  public let peakResidentBytes: Int
}

/// Why a run ends before its last step.
struct Halt: Error {
  /// nil: the collector is gone, and nobody listens.
  let failing: [FailingCondition]?
}

/// The strings between a run on its thread and those outside.
final class RunControl: @unchecked Sendable {
  private let condition = NSCondition()
  private var pausing = false
  private var canceled = false
  private var ended = false
  private let sensors: any Sensors
  private let proceed: Conditions

  init(sensors: any Sensors, proceed: Conditions) {
    self.sensors = sensors
    self.proceed = proceed
  }

  var isCanceled: Bool { condition.withLock { canceled } }
  /// Whether nothing more of it shall begin.
  var isStopping: Bool { condition.withLock { canceled || pausing } }

  func pause() {
    condition.withLock { pausing = true }
    oneAtATime.lookAgain()
  }

  func cancel() {
    condition.withLock { canceled = true }
    oneAtATime.lookAgain()
  }

  func end() {
    condition.withLock {
      ended = true
      condition.broadcast()
    }
  }

  /// Blocks the calling thread until the run has ended.
  func waitForEnd() {
    condition.withLock {
      while !ended { condition.wait() }
    }
  }

  /// Throws `Halt` when nothing more may run. Called before every step.
  func check(_ needs: Needs) throws {
    let (pausing, canceled) = condition.withLock { (self.pausing, self.canceled) }
    if canceled { throw Halt(failing: nil) }
    if pausing { throw Halt(failing: []) }
    let failing = drained { proceed.failing(sensors.read(), needs) }
    if !failing.isEmpty { throw Halt(failing: failing) }
  }
}

/// Waits without blocking a thread of Swift's own pool.
func waitForEnd(_ control: RunControl) async {
  await withCheckedContinuation { continuation in
    Thread.detachNewThread {
      control.waitForEnd()
      continuation.resume()
    }
  }
}

/// A stream of what `body` emits on a thread of its own. It is cold: the thread starts when the first event is asked
/// for, right behind `begin`. When the collector is canceled or goes away, the run is; one that is canceled gets the end
/// of the stream when the run has ended. `end` is called behind the last event.
func coldStream(
  _ control: RunControl, begin: @escaping @Sendable () throws -> Void, end: @escaping @Sendable () -> Void,
  _ body: @escaping @Sendable (@escaping (RunEvent) -> Void) throws -> Void
) -> AsyncThrowingStream<RunEvent, any Error> {
  let source = ColdSource(control: control, begin: begin, end: end, body: body)
  return AsyncThrowingStream { try await source.next() }
}

/// Its `next` is called by one collector at a time.
private final class ColdSource: @unchecked Sendable {
  private let control: RunControl
  private let begin: @Sendable () throws -> Void
  private let end: @Sendable () -> Void
  private let body: @Sendable (@escaping (RunEvent) -> Void) throws -> Void
  private var iterator: AsyncThrowingStream<RunEvent, any Error>.Iterator?

  init(
    control: RunControl, begin: @escaping @Sendable () throws -> Void, end: @escaping @Sendable () -> Void,
    body: @escaping @Sendable (@escaping (RunEvent) -> Void) throws -> Void
  ) {
    (self.control, self.begin, self.end, self.body) = (control, begin, end, body)
  }

  // A collector that leaves its loop drops the stream, and this with it.
  deinit { control.cancel() }

  func next() async throws -> RunEvent? {
    if iterator == nil {
      // Who is canceled before the first event gets none, and nothing happens.
      if Task.isCancelled { return nil }
      try begin()
      start()
    }
    let event = try await iterator!.next()
    // A canceled collector is let go at once, while its run is still in its last step.
    if event == nil && Task.isCancelled { await waitForEnd(control) }
    return event
  }

  private func start() {
    let (stream, continuation) = AsyncThrowingStream.makeStream(of: RunEvent.self, throwing: (any Error).self)
    let control = control
    continuation.onTermination = { reason in
      if case .cancelled = reason { control.cancel() }
    }
    let (body, end) = (body, end)
    let thread = Thread {
      do {
        try body { continuation.yield($0) }
        continuation.finish()
      } catch {
        continuation.finish(throwing: error)
      }
      end()
      control.end()
    }
    thread.stackSize = 8 << 20
    thread.start()
    iterator = stream.makeAsyncIterator()
  }
}
