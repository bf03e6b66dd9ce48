import Foundation

/// A person's labeled examples, in memory.
public struct Examples: Sendable {
  /// float32 `[n, ...shape]`, row-major.
  public let inputs: [Float]
  /// Shape of one example.
  public let shape: [Int]
  /// `[n]`, each 0 to classes - 1.
  public let labels: [Int]

  /// Checked when it is used: `tensorMismatch`, `dataInvalid`.
  public init(inputs: [Float], shape: [Int], labels: [Int]) {
    self.inputs = inputs
    self.shape = shape
    self.labels = labels
  }

  /// How many.
  public var count: Int { labels.count }

  /// Throws `dataInvalid` when there are none.
  func requireSome() throws {
    if count == 0 { throw PocketTuneError(.dataInvalid, "there are no examples: give at least one") }
  }

  /// Throws `tensorMismatch` for another shape than the bundle's, `dataInvalid` for labels that are no classes and
  /// inputs that are not finite.
  func check(_ task: Classification) throws {
    try requireSome()
    let row = elementCount(task.inputShape)!
    guard shape == task.inputShape, inputs.count == elementCount([count] + shape) else {
      throw PocketTuneError(
        .tensorMismatch,
        "\(inputs.count) numbers of shape \(shape) are no \(count) examples: the bundle takes some of shape "
          + "\(task.inputShape)")
    }
    if let wrong = labels.firstIndex(where: { !(0..<task.classes).contains($0) }) {
      throw PocketTuneError(
        .dataInvalid,
        "example \(wrong) has label \(labels[wrong]), and the bundle's classes are 0 to \(task.classes - 1)")
    }
    if let wrong = inputs.firstIndex(where: { !$0.isFinite }) {
      throw PocketTuneError(.dataInvalid, "example \(wrong / row) holds a number that is not finite: remove it")
    }
  }

  /// SHA-256 of the safetensors file that holds `inputs` and `labels` as PocketTune's tools write it, the widest first.
  func fileDigest() -> String {
    labels.map(Int64.init).withUnsafeBytes { labelBytes in
      inputs.withUnsafeBytes { inputBytes in
        let tensors = [
          TensorView(name: "labels", type: .int64, shape: [count], bytes: labelBytes),
          TensorView(name: "inputs", type: .float32, shape: [count] + shape, bytes: inputBytes),
        ]
        var digest = Digest256()
        tensorFileHeader(tensorEntries(tensors), [:]).withUnsafeBytes { digest.update($0) }
        for tensor in tensors { digest.update(tensor.bytes) }
        return digest.hex()
      }
    }
  }
}

/// Examples by the batch: what is left of the last one is filled with example 0 at weight 0.
final class ExampleBatches: BatchSource {
  private let examples: Examples
  private let batchSize: Int
  private let row: Int
  /// Of a batch's inputs; nil when no machine could hold them.
  private let batchBytes: Int?
  private var chosen: [Int] = []

  init(_ examples: Examples, _ task: Classification) {
    self.examples = examples
    batchSize = task.batchSize
    row = elementCount(task.inputShape)!
    batchBytes = byteCount([batchSize] + task.inputShape, .float32)
  }

  var count: Int { examples.count }
  /// Batches of an epoch.
  var perEpoch: Int { (count + batchSize - 1) / batchSize }

  /// The examples of the next run: a part of `order`.
  func choose(_ batch: Int, of order: [Int]) {
    let begin = batch * batchSize
    chosen = Array(order[begin..<min(begin + batchSize, order.count)])
  }

  var labels: [Int] { chosen.map { examples.labels[$0] } }

  func fill(_ name: Name, _ argument: Argument, _ item: Item, _ out: Buffer) throws -> Bool {
    switch (name, argument.type) {
    case ("inputs", .float32) where argument.bytes == batchBytes:
      examples.inputs.withUnsafeBytes { inputs in
        for place in 0..<batchSize {
          let begin = 4 * row * example(place)
          UnsafeMutableRawBufferPointer(rebasing: out.bytes[(4 * row * place)..<(4 * row * (place + 1))])
            .copyMemory(from: UnsafeRawBufferPointer(rebasing: inputs[begin..<(begin + 4 * row)]))
        }
      }
    case ("labels", .int64) where argument.bytes == 8 * batchSize:
      for place in 0..<batchSize { out.integers[place] = Int64(examples.labels[example(place)]) }
    case ("weights", .float32) where argument.bytes == 4 * batchSize:
      for place in 0..<batchSize { out.floats[place] = place < chosen.count ? 1 : 0 }
    default: return false
    }
    return true
  }

  private func example(_ place: Int) -> Int { place < chosen.count ? chosen[place] : 0 }
}

extension Examples {
  /// Examples of a safetensors file: `inputs` float32 `[n, ...]` and `labels` int64 `[n]`. Throws `tensorMismatch`,
  /// `safetensorsInvalid`, `ioFailed`.
  public init(file: URL) throws {
    let opened = try TensorFile(file.path)
    guard let labels = opened.header.find("labels"), labels.type == .int64, labels.shape.count == 1,
      let inputs = opened.header.find("inputs"), inputs.type == .float32, inputs.shape.first == labels.shape[0]
    else {
      throw PocketTuneError(
        .tensorMismatch, "'\(file.path)' has no float32 'inputs' [n, ...] and int64 'labels' [n]: write them")
    }
    let (labelBytes, inputBytes) = (try Buffer(labels.bytes), try Buffer(inputs.bytes))
    try opened.read(labels, into: labelBytes.bytes)
    try opened.read(inputs, into: inputBytes.bytes)
    self.init(
      inputs: Array(inputBytes.floats), shape: Array(inputs.shape.dropFirst()),
      labels: labelBytes.integers.map(Int.init))
  }
}
