import CPocketTuneEngine
import Foundation

/// How a program's file is read; the host maps it whatever is asked.
public enum ModuleLoadMode: Int, Sendable {
  case file = 0
  case mmap
}

/// What a program says about one tensor.
public final class TensorMetadata {
  public let shape: [Int]
  public let dataType: DataType
  /// Whether the runtime's own memory holds it. The C ABI copies such outputs by itself, so to callers none is.
  public let isMemoryPlanned = false

  init(_ tensor: pockettune_tensor) {
    shape = withUnsafeBytes(of: tensor.shape) { sizes in
      (0..<Int(tensor.rank)).map { Int(sizes.load(fromByteOffset: 8 * $0, as: Int64.self)) }
    }
    dataType = DataType(engine: tensor.dtype)
  }
}

/// What a program says about one method's inputs and outputs, by position.
public final class MethodMetadata {
  public let inputTensorMetadata: [Int: TensorMetadata]
  public let outputTensorMetadata: [Int: TensorMetadata]

  init(inputs: [TensorMetadata], outputs: [TensorMetadata]) {
    inputTensorMetadata = Dictionary(uniqueKeysWithValues: inputs.enumerated().map { ($0, $1) })
    outputTensorMetadata = Dictionary(uniqueKeysWithValues: outputs.enumerated().map { ($0, $1) })
  }
}

/// A program file over `sdk/engine`: the part of the official class that PocketTune uses, by the same names.
public final class Module {
  private let path: String
  private var program: OpaquePointer?
  private var methods: [String: Method] = [:]

  private struct Method {
    let handle: OpaquePointer
    let metadata: MethodMetadata
    var outputs: [Int: AnyTensor] = [:]
  }

  public init(filePath: String, loadMode: ModuleLoadMode = .file) { path = filePath }

  deinit {
    for method in methods.values { pockettune_method_free(method.handle) }
    if let program { pockettune_program_close(program) }
  }

  /// Loads a method, and the program before it.
  public func load(_ name: String) throws {
    if methods[name] != nil { return }
    try Module.startOnce.get()
    if program == nil { try check(pockettune_program_open(path, &program)) }
    var handle: OpaquePointer?
    try check(pockettune_method_load(program, name, &handle))
    do {
      let metadata = MethodMetadata(
        inputs: try tensors(handle!, pockettune_method_input_count, pockettune_method_input),
        outputs: try tensors(handle!, pockettune_method_output_count, pockettune_method_output))
      methods[name] = Method(handle: handle!, metadata: metadata)
    } catch {
      pockettune_method_free(handle)
      throw error
    }
  }

  /// Frees a method's memory; false when it was not loaded.
  public func unload(_ name: String) -> Bool {
    guard let method = methods.removeValue(forKey: name) else { return false }
    pockettune_method_free(method.handle)
    return true
  }

  public func methodMetadata(_ name: String) throws -> MethodMetadata {
    try load(name)
    return methods[name]!.metadata
  }

  /// The memory that the next runs write an output to.
  public func setOutput(_ value: ValueConvertible, for name: String, at index: Int) throws {
    try load(name)
    guard let tensor = value.asValue().anyTensor else { throw failure(0x11, "an output is no tensor") }
    methods[name]!.outputs[index] = tensor
  }

  /// Runs a method; outputs are the tensors that were set, in order.
  public func execute(_ name: String, _ inputs: [ValueConvertible]) throws -> [Value] {
    try load(name)
    let method = methods[name]!
    let given = inputs.map { $0.asValue().anyTensor?.buffer ?? pockettune_buffer(data: nil, bytes: 0) }
    let kept = try (0..<method.metadata.outputTensorMetadata.count).map { index in
      guard let tensor = method.outputs[index] else { throw failure(0x02, "output \(index) was not set") }
      return tensor
    }
    let outputs = kept.map(\.buffer)
    try check(pockettune_method_run(method.handle, given, given.count, outputs, outputs.count))
    return kept.map { Value($0) }
  }

  private func tensors(
    _ method: OpaquePointer, _ count: (OpaquePointer?, UnsafeMutablePointer<Int>?) -> Int32,
    _ describe: (OpaquePointer?, Int, UnsafeMutablePointer<pockettune_tensor>?) -> Int32
  ) throws -> [TensorMetadata] {
    var number = 0
    try check(count(method, &number))
    return try (0..<number).map { index in
      var tensor = pockettune_tensor()
      try check(describe(method, index, &tensor))
      return TensorMetadata(tensor)
    }
  }

  /// One thread: the same as the native runner's default, so that results agree bit for bit.
  private static let startOnce = Result { try check(pockettune_engine_set_threads(1)) }
}

/// The version of the runtime behind the C ABI, like "1.5.1".
public func runtimeVersion() -> String { String(cString: pockettune_engine_version()) }

private func check(_ result: Int32) throws {
  guard result != Int32(POCKETTUNE_OK) else { return }
  // 0x21 and 0x01: what the runtime calls a failed allocation, and anything internal.
  throw failure(result == Int32(POCKETTUNE_MEMORY) ? 0x21 : 0x01, String(cString: pockettune_engine_error()))
}

private func failure(_ code: Int, _ text: String) -> NSError {
  NSError(domain: "org.pytorch.executorch.error", code: code, userInfo: [NSLocalizedDescriptionKey: text])
}
