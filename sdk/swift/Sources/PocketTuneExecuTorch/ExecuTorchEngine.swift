import ExecuTorch
import Foundation
import PocketTune

/// Programs run by ExecuTorch's own Swift classes.
///
///     let trainer = try Trainer(bundle: bundle, store: store, engine: ExecuTorchEngine(version: "1.5.1"), sensors: sensors)
public struct ExecuTorchEngine: Engine {
  public let name = "executorch"
  public let version: String?

  /// `version`: of the ExecuTorch package that the app links, which the classes do not tell; a bundle of another
  /// release is then refused. nil: not compared.
  public init(version: String? = nil) { self.version = version }

  public func open(_ bundle: ModelBundle, _ program: Program) throws -> any Session {
    guard let entry = program.entry(for: name) else {
      throw PocketTuneError(
        .programMissing, "the bundle has '\(program.name)' for other engines only: export it for executorch")
    }
    let session = try ExecuTorchSession(path: bundle.path(entry.file), method: entry.method, program: program)
    try bundle.checkUnchanged(entry.file)
    return session
  }
}

private final class ExecuTorchSession: Session {
  private let module: Module
  private let method: String
  private let program: Program
  private let planned: [Bool]

  init(path: String, method: String, program: Program) throws {
    self.method = method
    self.program = program
    module = Module(filePath: path, loadMode: .mmap)
    let metadata: MethodMetadata
    do {
      try module.load(method)
      metadata = try module.methodMetadata(method)
    } catch {
      throw engineError("program '\(program.name)' cannot be loaded", error)
    }
    try check("input", program, program.inputs, metadata.inputTensorMetadata)
    try check("output", program, program.outputs, metadata.outputTensorMetadata)
    planned = program.outputs.indices.map { metadata.outputTensorMetadata[$0]!.isMemoryPlanned }
  }

  func run(inputs: [UnsafeRawBufferPointer], outputs: [UnsafeMutableRawBufferPointer]) throws {
    do {
      for (index, output) in outputs.enumerated() where !planned[index] {
        try module.setOutput(tensor(output, program.outputs[index]), for: method, at: index)
      }
      let values = try module.execute(
        method, zip(inputs, program.inputs).map { tensor(UnsafeMutableRawBufferPointer(mutating: $0), $1) })
      guard values.count == outputs.count else { throw unexpected("it gave \(values.count) results") }
      for (index, output) in outputs.enumerated() {
        var fits = false
        // A runtime may hand out memory of its own all the same.
        values[index].anyTensor?.bytes { pointer, count, type in
          fits = type == dataType(program.outputs[index].type) && count == program.outputs[index].elements
          if fits && pointer != UnsafeRawPointer(output.baseAddress!) {
            output.baseAddress!.copyMemory(from: pointer, byteCount: output.count)
          }
        }
        guard fits else { throw unexpected("its '\(program.outputs[index].name)' is not what the manifest says") }
      }
    } catch let error as PocketTuneError {
      throw error
    } catch {
      throw engineError("program '\(program.name)' failed", error)
    }
  }

  private func unexpected(_ what: String) -> PocketTuneError {
    PocketTuneError(.tensorMismatch, "program '\(program.name)' was run and \(what): export it again")
  }

  private func tensor(_ bytes: UnsafeMutableRawBufferPointer, _ argument: Argument) -> AnyTensor {
    AnyTensor(bytesNoCopy: bytes.baseAddress!, shape: argument.shape, dataType: dataType(argument.type))
  }
}

extension Argument {
  fileprivate var elements: Int { shape.reduce(1, *) }
}

private func dataType(_ type: ElementType) -> DataType {
  switch type {
  case .float32: return .float
  case .float16: return .half
  case .int64: return .long
  case .int32: return .int
  case .uint8: return .byte
  case .int8: return .char
  }
}

private func check(
  _ kind: String, _ program: Program, _ arguments: [Argument], _ found: [Int: TensorMetadata]
) throws {
  guard found.count == arguments.count else {
    throw PocketTuneError(
      .tensorMismatch,
      "program '\(program.name)' has \(found.count) \(kind)s, its manifest lists \(arguments.count): export it again")
  }
  for (index, argument) in arguments.enumerated() {
    guard let tensor = found[index], tensor.shape == argument.shape, tensor.dataType == dataType(argument.type) else {
      throw PocketTuneError(
        .tensorMismatch,
        "\(kind) '\(argument.name)' of program '\(program.name)' is not what its manifest says: export it again")
    }
  }
}

private func engineError(_ what: String, _ error: any Swift.Error) -> PocketTuneError {
  let found = error as NSError
  // 0x21: ExecuTorch's MemoryAllocationFailed.
  if found.code == 0x21 {
    return PocketTuneError(.outOfMemory, "\(what): there is not enough memory; close other apps and try again")
  }
  return PocketTuneError(.engineFailed, "\(what): \(found.localizedDescription) (error \(found.code))")
}
