#if canImport(CoreML)
  import CoreML
  import Foundation
  import PocketTune

  // Never compiled here: this repository's machines have no Apple system, and no export writes Core ML programs yet. It
  // is parsed, and that is all.

  /// Programs run by Core ML, whose features are named like the program's inputs and outputs.
  ///
  /// `engines.coreml.file` of a manifest is a file in a compiled model's folder (`NAME.mlmodelc/model.mil`); that folder
  /// is opened, and everything in it must be the bundle's. Core ML has no int64: such tensors go through int32, and
  /// values that do not fit are `engineFailed`.
  public struct CoreMLEngine: Engine {
    /// `coreml`.
    public let name = "coreml"
    /// Not compared: Core ML comes with the system.
    public let version: String? = nil
    private let units: MLComputeUnits

    /// With `.all`, results are those of whatever unit Core ML chooses, and not the same bits on each device.
    public init(computeUnits: MLComputeUnits = .all) { units = computeUnits }

    public func open(_ bundle: ModelBundle, _ program: Program) throws -> any Session {
      guard let entry = program.entry(for: name) else {
        throw PocketTuneError(
          .programMissing, "the bundle has '\(program.name)' for other engines only: export it for coreml")
      }
      let folder = (entry.file as NSString).deletingLastPathComponent
      let configuration = MLModelConfiguration()
      configuration.computeUnits = units
      if #available(iOS 18, macOS 15, *) {
        configuration.functionName = entry.method
      } else if entry.method != "main" {
        throw PocketTuneError(
          .engineFailed, "program '\(program.name)' is a function of a model, which needs iOS 18 or macOS 15: update")
      }
      let model: MLModel
      do {
        model = try MLModel(
          contentsOf: URL(fileURLWithPath: bundle.path(folder), isDirectory: true), configuration: configuration)
      } catch {
        throw PocketTuneError(
          .engineFailed, "program '\(program.name)' cannot be loaded: \(error.localizedDescription)")
      }
      try bundle.checkUnchanged(folder: folder)
      return CoreMLSession(model, program)
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
      // Where int64 inputs lie as int32 while the model runs.
      var narrowed: [UnsafeMutablePointer<Int32>] = []
      defer { for pointer in narrowed { pointer.deallocate() } }
      var features: [String: MLFeatureValue] = [:]
      for (bytes, argument) in zip(inputs, program.inputs) {
        var pointer = UnsafeMutableRawPointer(mutating: bytes.baseAddress!)
        if argument.type == .int64 {
          let values = try bytes.bindMemory(to: Int64.self).map(narrow)
          let copy = UnsafeMutablePointer<Int32>.allocate(capacity: values.count)
          copy.initialize(from: values, count: values.count)
          narrowed.append(copy)
          pointer = UnsafeMutableRawPointer(copy)
        }
        features[argument.name] = MLFeatureValue(multiArray: try array(pointer, argument))
      }
      let found: any MLFeatureProvider
      do {
        found = try model.prediction(from: MLDictionaryFeatureProvider(dictionary: features))
      } catch {
        throw failure(error.localizedDescription)
      }
      for (bytes, argument) in zip(outputs, program.outputs) {
        guard let value = found.featureValue(for: argument.name)?.multiArrayValue else {
          throw failure("its output '\(argument.name)' is missing")
        }
        try copy(value, argument, to: bytes)
      }
    }

    private func failure(_ why: String) -> PocketTuneError {
      PocketTuneError(.engineFailed, "program '\(program.name)' failed: \(why)")
    }

    private func type(_ argument: Argument) throws -> MLMultiArrayDataType {
      switch argument.type {
      case .float32: return .float32
      case .float16: return .float16
      case .int64, .int32: return .int32
      case .uint8, .int8: throw failure("'\(argument.name)' has 8 bits, which Core ML's arrays have not")
      }
    }

    /// The caller's memory as an array, which ends before that does.
    private func array(_ pointer: UnsafeMutableRawPointer, _ argument: Argument) throws -> MLMultiArray {
      let shape = argument.shape.isEmpty ? [1] : argument.shape
      do {
        return try MLMultiArray(
          dataPointer: pointer, shape: shape.map { NSNumber(value: $0) }, dataType: try type(argument),
          strides: rowMajorStrides(shape).map { NSNumber(value: $0) }, deallocator: nil)
      } catch let error as PocketTuneError {
        throw error
      } catch {
        throw failure("'\(argument.name)': \(error.localizedDescription)")
      }
    }

    private func narrow(_ value: Int64) throws -> Int32 {
      guard let narrow = Int32(exactly: value) else { throw failure("\(value) does not fit an int32") }
      return narrow
    }

    /// Core ML lays out what it gives as it likes: its rows need not follow each other.
    private func copy(_ array: MLMultiArray, _ argument: Argument, to bytes: UnsafeMutableRawBufferPointer) throws {
      guard array.dataType == (try type(argument)) else { throw failure("'\(argument.name)' is of another type") }
      let (shape, strides) = (array.shape.map(\.intValue), array.strides.map(\.intValue))
      let done = array.withUnsafeBytes { source -> Bool in
        guard argument.type == .int64 else {
          return gather(source, shape: shape, strides: strides, elementBytes: argument.type.bytes, into: bytes)
        }
        let wide = bytes.bindMemory(to: Int64.self)
        return withUnsafeTemporaryAllocation(of: Int32.self, capacity: wide.count) { values in
          guard
            gather(source, shape: shape, strides: strides, elementBytes: 4, into: UnsafeMutableRawBufferPointer(values))
          else { return false }
          for (index, value) in values.enumerated() { wide[index] = Int64(value) }
          return true
        }
      }
      guard done else { throw failure("its output '\(argument.name)' is of another size") }
    }
  }
#endif
