import Foundation

public enum MLComputeUnits: Int, Sendable { case cpuOnly, cpuAndGPU, all, cpuAndNeuralEngine }

public final class MLModelConfiguration: NSObject {
  public var computeUnits = MLComputeUnits.all
  public var functionName: String?
}

public enum MLMultiArrayDataType: Int, Sendable { case double, float32, float16, int32 }

public final class MLMultiArray: NSObject {
  public init(
    dataPointer: UnsafeMutableRawPointer, shape: [NSNumber], dataType: MLMultiArrayDataType, strides: [NSNumber],
    deallocator: ((UnsafeMutableRawPointer) -> Void)? = nil
  ) throws {}
  public var dataType: MLMultiArrayDataType { fatalError() }
  public var shape: [NSNumber] { fatalError() }
  public var strides: [NSNumber] { fatalError() }
  public func withUnsafeBytes<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R { fatalError() }
}

public final class MLFeatureValue: NSObject {
  public init(multiArray value: MLMultiArray) {}
  public var multiArrayValue: MLMultiArray? { fatalError() }
}

public protocol MLFeatureProvider {
  func featureValue(for featureName: String) -> MLFeatureValue?
}

public final class MLDictionaryFeatureProvider: NSObject, MLFeatureProvider {
  public init(dictionary: [String: Any]) throws {}
  public func featureValue(for featureName: String) -> MLFeatureValue? { fatalError() }
}

public final class MLModel: NSObject {
  public init(contentsOf url: URL, configuration: MLModelConfiguration) throws {}
  public func prediction(from input: any MLFeatureProvider) throws -> any MLFeatureProvider { fatalError() }
}
