import PocketTune

/// Turns the motion sensors' samples into examples for a classification bundle of shape `[channels, length]`.
public struct GestureRecorder: Sendable {
  public let channels: Int
  public let length: Int
  /// Samples between the beginnings of two windows.
  public let stride: Int
  private var samples: [[Float]] = []
  private var skip = 0
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

  /// Forgets the samples of a window that is not full: call it when the gesture changes.
  public mutating func interrupt() {
    samples = []
    skip = 0
  }

  /// Every fifth example of each label is kept back, to judge what was learned.
  public func split() -> (training: Examples, held: Examples) {
    let row = channels * length
    var parts = (training: (inputs: [Float](), labels: [Int]()), held: (inputs: [Float](), labels: [Int]()))
    var seen: [Int: Int] = [:]
    for (index, label) in labels.enumerated() {
      let number = seen[label, default: 0]
      seen[label] = number + 1
      let window = inputs[row * index..<row * (index + 1)]
      if number % 5 == 4 {
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
