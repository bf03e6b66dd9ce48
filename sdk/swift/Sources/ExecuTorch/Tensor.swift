import CPocketTuneEngine

/// Element types, with the numbers of the official enumeration.
public enum DataType: Int8, Sendable {
  case byte = 0
  case char = 1
  case int = 3
  case long = 4
  case half = 5
  case float = 6
  case undefined = 30

  init(engine type: Int32) {
    switch Int(type) {
    case POCKETTUNE_UINT8: self = .byte
    case POCKETTUNE_INT8: self = .char
    case POCKETTUNE_INT32: self = .int
    case POCKETTUNE_INT64: self = .long
    case POCKETTUNE_FLOAT16: self = .half
    case POCKETTUNE_FLOAT32: self = .float
    default: self = .undefined
    }
  }

  var bytes: Int {
    switch self {
    case .byte, .char: return 1
    case .half: return 2
    case .int, .float: return 4
    case .long: return 8
    case .undefined: return 0
    }
  }
}

/// A tensor in memory of the caller's, which outlives it.
public final class AnyTensor {
  public let shape: [Int]
  public let dataType: DataType
  private let pointer: UnsafeMutableRawPointer

  public init(bytesNoCopy pointer: UnsafeMutableRawPointer, shape: [Int], dataType: DataType) {
    self.pointer = pointer
    self.shape = shape
    self.dataType = dataType
  }

  /// Elements.
  public var count: Int { shape.reduce(1, *) }

  /// Calls `handler(pointer, elements, type)`.
  public func bytes(_ handler: (UnsafeRawPointer, Int, DataType) -> Void) {
    handler(UnsafeRawPointer(pointer), count, dataType)
  }

  var buffer: pockettune_buffer { pockettune_buffer(data: pointer, bytes: count * dataType.bytes) }
}

/// What goes into a method and comes out of it.
public final class Value {
  public let anyTensor: AnyTensor?

  public init(_ tensor: AnyTensor) { anyTensor = tensor }
}

public protocol ValueConvertible {
  func asValue() -> Value
}

extension Value: ValueConvertible {
  public func asValue() -> Value { self }
}

extension AnyTensor: ValueConvertible {
  public func asValue() -> Value { Value(self) }
}
