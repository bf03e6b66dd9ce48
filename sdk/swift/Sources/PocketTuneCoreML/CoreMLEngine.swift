#if canImport(CoreML)
  import CoreML
  import Foundation
  import PocketTune

  // Never compiled here: this repository's machines have no Apple system, and no export writes Core ML programs yet. It
  // is parsed, and that is all.

  /// Programs run by Core ML: compiled models (`.mlmodelc`) whose features are named like the program's inputs and
  /// outputs. Core ML has no int64: such tensors go through int32, and values that do not fit are `engineFailed`.
  public struct CoreMLEngine: Engine {
    public let name = "coreml"
    public let version: String? = nil
    private let units: MLComputeUnits

    public init(computeUnits: MLComputeUnits = .all) { units = computeUnits }

    public func open(_ bundle: ModelBundle, _ program: Program) throws -> any Session {
      guard let entry = program.entry(for: name) else {
        throw PocketTuneError(
          .programMissing, "the bundle has '\(program.name)' for other engines only: export it for coreml")
      }
      let configuration = MLModelConfiguration()
      configuration.computeUnits = units
      if #available(iOS 18, macOS 15, *) { configuration.functionName = entry.method }
      do {
        let url = URL(fileURLWithPath: bundle.path(entry.file))
        return CoreMLSession(try MLModel(contentsOf: url, configuration: configuration), program)
      } catch {
        throw PocketTuneError(
          .engineFailed, "program '\(program.name)' cannot be loaded: \(error.localizedDescription)")
      }
    }
  }

  private final class CoreMLSession: Session {
    private let model: MLModel
    private let program: Program

    init(_ model: MLModel, _ program: Program) {
      self.model = model
      self.program = program
    }

    func run(inputs: [UnsafeRawBufferPointer], outputs: [UnsafeMutableRawBufferPointer]) throws {
      var features: [String: MLFeatureValue] = [:]
      for (bytes, argument) in zip(inputs, program.inputs) {
        features[argument.name] = MLFeatureValue(multiArray: try array(bytes, argument))
      }
      let found: any MLFeatureProvider
      do {
        found = try model.prediction(from: MLDictionaryFeatureProvider(dictionary: features))
      } catch {
        throw failure(error.localizedDescription)
      }
      for (bytes, argument) in zip(outputs, program.outputs) {
        guard let value = found.featureValue(for: argument.name)?.multiArrayValue, value.count == count(argument) else {
          throw failure("its output '\(argument.name)' is missing, or of another size")
        }
        try copy(value, argument, to: bytes)
      }
    }

    private func failure(_ why: String) -> PocketTuneError {
      PocketTuneError(.engineFailed, "program '\(program.name)' failed: \(why)")
    }

    private func count(_ argument: Argument) -> Int { argument.shape.reduce(1, *) }

    private func type(_ argument: Argument) throws -> MLMultiArrayDataType {
      switch argument.type {
      case .float32: return .float32
      case .float16: return .float16
      case .int64, .int32: return .int32
      case .uint8, .int8: throw failure("'\(argument.name)' has 8 bits, which Core ML's arrays have not")
      }
    }

    private func array(_ bytes: UnsafeRawBufferPointer, _ argument: Argument) throws -> MLMultiArray {
      let shape = argument.shape.isEmpty ? [1] : argument.shape
      let array = try MLMultiArray(shape: shape.map { NSNumber(value: $0) }, dataType: try type(argument))
      let narrowed = argument.type == .int64 ? try bytes.bindMemory(to: Int64.self).map(narrow) : []
      array.withUnsafeMutableBytes { target, _ in
        if argument.type == .int64 {
          narrowed.withUnsafeBytes { target.copyMemory(from: $0) }
        } else {
          target.copyMemory(from: bytes)
        }
      }
      return array
    }

    private func narrow(_ value: Int64) throws -> Int32 {
      guard let narrow = Int32(exactly: value) else { throw failure("\(value) does not fit an int32") }
      return narrow
    }

    private func copy(_ array: MLMultiArray, _ argument: Argument, to bytes: UnsafeMutableRawBufferPointer) throws {
      guard array.dataType == (try type(argument)) else { throw failure("'\(argument.name)' is of another type") }
      array.withUnsafeBytes { source in
        if argument.type == .int64 {
          let wide = bytes.bindMemory(to: Int64.self)
          for (index, value) in source.bindMemory(to: Int32.self).enumerated() { wide[index] = Int64(value) }
        } else {
          bytes.copyMemory(from: source)
        }
      }
    }
  }
#endif
