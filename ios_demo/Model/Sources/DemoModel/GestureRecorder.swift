import PocketTune

/// Turns the motion sensors' samples into examples for a classification bundle of shape `[channels, length]`.
public struct GestureRecorder: Sendable {
  public let channels: Int
  public let length: Int
  /// Samples between the beginnings of two windows.
  public let stride: Int
  private var samples: [[Float]] = []
  private var skip = 0
  /// Which recording a window is of.
  private var recordings: [Int] = []
  private var recording = 0
  public private(set) var inputs: [Float] = []
  public private(set) var labels: [Int] = []

  /// nil when the bundle's examples are no series.
  public init?(inputShape: [Int]) {
    guard inputShape.count == 2, let channels = inputShape.first, let length = inputShape.last else { return nil }
    self.channels = channels
    self.length = length
    stride = max(1, length / 2)
  }

  public var examples: Examples { Examples(inputs: inputs, shape: [channels, length], labels: labels) }

  /// Takes one sample, one number a channel; true when it completed a window of that label.
  @discardableResult
  public mutating func record(_ sample: [Float], label: Int) -> Bool {
    guard let window = take(sample) else { return false }
    inputs += window
    labels.append(label)
    recordings.append(recording)
    return true
  }

  /// Takes one sample; the window that it completes, float32 `[channels, length]`, row-major.
  public mutating func take(_ sample: [Float]) -> [Float]? {
    guard sample.count == channels, sample.allSatisfy(\.isFinite) else { return nil }
    samples.append(sample)
    if samples.count > length { samples.removeFirst() }
    guard samples.count == length else { return nil }
    if skip > 0 {
      skip -= 1
      return nil
    }
    skip = stride - 1
    return (0..<channels).flatMap { channel in samples.map { $0[channel] } }
  }

  /// Ends a recording: the samples of a window that is not full are forgotten.
  public mutating func interrupt() {
    recording += 1
    samples = []
    skip = 0
  }

  /// What is still to be recorded before learning makes sense; nil: nothing.
  public var missing: String? {
    let seen = Dictionary(grouping: zip(labels, recordings), by: \.0).mapValues { Set($0.map(\.1)).count }
    guard seen.count >= 2 else { return "Record two gestures or more." }
    guard let once = seen.filter({ $0.value < 2 }).keys.min() else { return nil }
    return "Record gesture \(once + 1) once more: one recording to learn from, one to judge by."
  }

  /// Every second recording of a label is kept back, to judge what was learned. Windows of one recording overlap, so
  /// a recording is on one side whole.
  public func split() -> (training: Examples, held: Examples) {
    let row = channels * length
    var parts = (training: (inputs: [Float](), labels: [Int]()), held: (inputs: [Float](), labels: [Int]()))
    var seen: [Int: [Int]] = [:]
    for (index, label) in labels.enumerated() {
      if seen[label]?.last != recordings[index] { seen[label, default: []].append(recordings[index]) }
      let window = inputs[row * index..<row * (index + 1)]
      if seen[label]!.count % 2 == 0 {
        parts.held.inputs += window
        parts.held.labels.append(label)
      } else {
        parts.training.inputs += window
        parts.training.labels.append(label)
      }
    }
    func made(_ part: (inputs: [Float], labels: [Int])) -> Examples {
      Examples(inputs: part.inputs, shape: [channels, length], labels: part.labels)
    }
    return (made(parts.training), made(parts.held))
  }
}

/// The most likely class of logits; nil for none.
public func mostLikely(_ logits: [Float]) -> Int? {
  logits.indices.max { logits[$0] < logits[$1] }
}
