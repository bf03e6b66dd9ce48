/// The state of a training: every tensor twice, since an engine takes one buffer and fills another.
final class TrainingState {
  private struct Pair {
    var now: Buffer
    var next: Buffer?
  }

  private let bundle: ModelBundle
  private var tensors: [Name: Pair] = [:]
  /// Sorted.
  let names: [Name]

  /// The initial values of the tensors named. Throws `tensorMismatch`, `safetensorsInvalid`, `ioFailed`.
  init(_ bundle: ModelBundle, _ names: Set<Name>) throws {
    self.bundle = bundle
    self.names = names.sorted()
    for name in names { tensors[name] = Pair(now: try initialValue(bundle, name)) }
  }

  func now(_ name: Name) -> Buffer { tensors[name]!.now }

  /// Where a program writes the new value; `swap` makes it the current one.
  func next(_ name: Name) throws -> Buffer {
    if let next = tensors[name]!.next { return next }
    let next = try Buffer(now(name).bytes.count)
    tensors[name]!.next = next
    return next
  }

  func swap(_ name: Name) throws {
    let pair = tensors[name]!
    tensors[name] = Pair(now: try next(name), next: pair.now)
  }

  /// All tensors by name, in that order.
  func views() -> [TensorView] {
    names.map { name in
      let tensor = bundle.manifest.tensors[name]!
      return TensorView(name: name, type: tensor.type, shape: tensor.shape, bytes: now(name).readable)
    }
  }

  /// Bytes of all tensors, each once; at most 2^60, which no device has, so that sums of it stay sums.
  static func bytes(_ bundle: ModelBundle, _ names: Set<Name>) -> Int {
    let most = 1 << 60
    return names.reduce(0) { min(most, $0 + min(most, bundle.manifest.tensors[$1]!.bytes)) }
  }
}

/// The initial value of one tensor.
func initialValue(_ bundle: ModelBundle, _ name: Name) throws -> Buffer {
  let tensor = bundle.manifest.tensors[name]!
  let buffer = try Buffer(tensor.bytes)
  if let file = tensor.file {
    let opened = try bundle.tensors(file)
    try opened.read(try opened.require(name, tensor.type, tensor.shape), into: buffer.bytes)
  }
  return buffer
}

extension StateTensor {
  private func part(_ view: View, of pack: UnsafeMutableRawBufferPointer) -> UnsafeMutableRawBufferPointer {
    UnsafeMutableRawBufferPointer(rebasing: pack[(4 * view.offset)..<(4 * (view.offset + view.elements))])
  }

  /// Writes a pack's named tensors to a file of their own.
  func writeViews(_ path: String, _ pack: Buffer, _ metadata: Metadata) throws {
    let tensors = views.map { view in
      TensorView(
        name: view.name, type: .float32, shape: view.shape,
        bytes: UnsafeRawBufferPointer(part(view, of: pack.bytes)))
    }
    try writeTensorFile(path, tensors, metadata)
  }

  /// Reads such a file, float32 or float16, into the pack. Throws `tensorMismatch` when its tensors are not exactly
  /// the pack's.
  func readViews(_ path: String, into pack: Buffer) throws {
    let file = try TensorFile(path)
    for (view, entry) in zip(views, try checkViews(file)) {
      let stored = try Buffer(entry.bytes)
      try file.read(entry, into: stored.bytes)
      convert(stored.readable, entry.type, to: part(view, of: pack.bytes), .float32)
    }
  }

  /// The tensors of such a file, one for each view; no value is read. Throws `tensorMismatch` likewise.
  @discardableResult
  func checkViews(_ file: TensorFile) throws -> [TensorEntry] {
    let entries = try views.map { view in
      let isHalf = file.header.find(view.name)?.type == .float16
      return try file.require(view.name, isHalf ? .float16 : .float32, view.shape)
    }
    guard file.header.entries.count == views.count else {
      throw PocketTuneError(
        .tensorMismatch,
        "'\(file.path)' has \(file.header.entries.count) tensors, the bundle takes \(views.count): use one made with it"
      )
    }
    return entries
  }
}

/// L2 norm of the change of a trained tensor; `what` is its name for people. Throws `adapterUnchanged`,
/// `lossNotFinite`.
func change(from before: Buffer, to after: Buffer, _ what: String) throws -> Double {
  var sum = 0.0
  for (old, new) in zip(before.floats, after.floats) {
    let difference = Double(new) - Double(old)
    sum += difference * difference
  }
  guard sum.isFinite else {
    throw PocketTuneError(.lossNotFinite, "the \(what) is not finite: use a smaller learning rate and another name")
  }
  guard sum != 0 else {
    throw PocketTuneError(
      .adapterUnchanged, "training changed nothing, so no \(what) was kept: use a larger learning rate or more steps")
  }
  return sum.squareRoot()
}
