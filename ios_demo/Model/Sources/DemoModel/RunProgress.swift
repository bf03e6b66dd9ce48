import PocketTune

/// What the screen of a run shows: the run's events, folded one by one.
public struct RunProgress: Sendable, Equatable {
  /// What the run is at.
  public enum Phase: Sendable, Equatable {
    case idle, preparing, training
    /// It waits; what has to change, in words. Empty: the person paused it.
    case waiting([String])
    case finished(accepted: Bool)
    case failed(String)
  }

  public private(set) var phase = Phase.idle
  /// 0 to 1, of the preparation or of the training.
  public private(set) var fraction = 0.0
  /// One for each step that this session saw, oldest first.
  public private(set) var losses: [Float] = []
  /// Seconds that are left, by the last steps' times; nil before there are any.
  public private(set) var secondsLeft: Double?
  private var recentSeconds: [Double] = []

  /// Steps whose times make the estimate.
  private static let window = 10

  public init() {}

  /// Takes the next event.
  public mutating func take(_ event: RunEvent) {
    switch event {
    case .prepared(_, let done, let total):
      phase = .preparing
      fraction = total > 0 ? Double(done) / Double(total) : 0
    case .stepped(let step, let total, let loss, let seconds):
      phase = .training
      fraction = total > 0 ? Double(step) / Double(total) : 0
      losses.append(loss)
      recentSeconds = (recentSeconds + [seconds]).suffix(Self.window)
      secondsLeft = Double(total - step) * recentSeconds.reduce(0, +) / Double(recentSeconds.count)
    case .stopped(_, let failing):
      phase = .waiting(failing.map(inWords))
      secondsLeft = nil
    case .finished(let result):
      phase = .finished(accepted: result.accepted)
      fraction = 1
      secondsLeft = nil
    case .resumed, .checkpointed, .damaged:
      break
    }
  }

  /// The person stopped the run, which says no more.
  public mutating func cancel() {
    phase = .waiting([])
    secondsLeft = nil
  }

  /// The run goes on by itself when the phone has time.
  public mutating func sleep() {
    phase = .waiting([FailingCondition(.charging, .unmet), FailingCondition(.idle, .unmet)].map(inWords))
  }

  /// Takes the error that ended the run.
  public mutating func fail(_ error: any Error) {
    phase = .failed((error as? PocketTuneError)?.message ?? String(describing: error))
    secondsLeft = nil
  }

  /// The line below the bar.
  public var line: String {
    switch phase {
    case .idle: return "Nothing runs."
    case .preparing: return "Looking at your photos: \(percent)"
    case .training: return "Learning: \(percent)" + (secondsLeft.map { ", \(duration($0)) left" } ?? "")
    case .waiting(let reasons):
      return reasons.isEmpty
        ? "Paused. What was learned so far is kept."
        : "Waiting, and nothing is lost: " + reasons.joined(separator: "; ") + "."
    case .finished(accepted: true): return "Done."
    case .finished(accepted: false):
      return "The result was no better than before, so it was thrown away. Try again with more, or with others."
    case .failed(let reason): return "It failed: \(reason)"
    }
  }

  private var percent: String { "\(Int((fraction * 100).rounded(.down))) %" }
}

/// A time as people say it: `45 s`, `2 min`, `1 h 5 min`.
public func duration(_ seconds: Double) -> String {
  let whole = Int(min(max(0, seconds), 1e9).rounded(.up))
  if whole < 60 { return "\(whole) s" }
  let minutes = (whole + 30) / 60
  return minutes < 60 ? "\(minutes) min" : "\(minutes / 60) h \(minutes % 60) min"
}

/// What has to change before training goes on.
public func inWords(_ failing: FailingCondition) -> String {
  let unknown = failing.reason == .unknown
  switch failing.condition {
  case .charging: return unknown ? "whether the phone charges is not known" : "connect the charger"
  case .battery: return unknown ? "the battery's charge is not known" : "let the battery charge"
  case .thermal: return unknown ? "the phone's temperature is not known" : "let the phone cool down"
  case .idle: return unknown ? "whether the phone is in use is not known" : "put the phone down"
  case .unmetered: return unknown ? "the kind of network is not known" : "connect to Wi-Fi"
  case .powerSave: return unknown ? "whether power is saved is not known" : "turn Low Power Mode off"
  case .storage: return unknown ? "the free storage is not known" : "free some storage"
  case .memory: return unknown ? "the free memory is not known" : "close other apps"
  }
}
