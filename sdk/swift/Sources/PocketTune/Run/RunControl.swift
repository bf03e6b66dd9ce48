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
