/// The element types that bundles and tensor files know.
public enum ElementType: String, CaseIterable, Sendable {
  /// IEEE 754 binary32.
  case float32
  /// IEEE 754 binary16.
  case float16
  /// Signed, 8 bytes.
  case int64
  /// Signed, 4 bytes.
  case int32
  /// Unsigned, 1 byte.
  case uint8
  /// Signed, 1 byte.
  case int8

  /// Bytes of one element.
  public var bytes: Int {
    switch self {
    case .int64: return 8
    case .float32, .int32: return 4
    case .float16: return 2
    case .uint8, .int8: return 1
    }
  }

  /// The name in a safetensors file.
  var fileName: String {
    switch self {
    case .float32: return "F32"
    case .float16: return "F16"
    case .int64: return "I64"
    case .int32: return "I32"
    case .uint8: return "U8"
    case .int8: return "I8"
    }
  }

  init?(fileName: String) {
    guard let found = ElementType.allCases.first(where: { $0.fileName == fileName }) else { return nil }
    self = found
  }
}

/// Elements of a tensor of that shape; nil when the product is beyond 2^62.
func elementCount(_ shape: [Int]) -> Int? {
  var count = 1
  for size in shape {
    let (product, overflow) = count.multipliedReportingOverflow(by: size)
    if size < 0 || overflow || product > 1 << 62 { return nil }
    count = product
  }
  return count
}

/// Bytes of a tensor; nil when they do not fit an Int.
func byteCount(_ shape: [Int], _ type: ElementType) -> Int? {
  guard let count = elementCount(shape) else { return nil }
  let (bytes, overflow) = count.multipliedReportingOverflow(by: type.bytes)
  return overflow ? nil : bytes
}

func describe(_ type: ElementType, _ shape: [Int]) -> String {
  "\(type.rawValue) [\(shape.map(String.init).joined(separator: ","))]"
}

/// A float16's bits, rounded to nearest even. Swift has no Float16 on every platform.
func halfBits(_ value: Float) -> UInt16 {
  let bits = value.bitPattern
  let sign = UInt16(truncatingIfNeeded: bits >> 16 & 0x8000)
  let magnitude = bits & 0x7fff_ffff
  if magnitude > 0x7f80_0000 { return sign | 0x7e00 }  // not a number
  if magnitude >= 0x4780_0000 { return sign | 0x7c00 }  // 65536 and up: infinity
  if magnitude < 0x3300_0000 { return sign }  // below half the least subnormal
  let exponent = Int(magnitude >> 23) - 127
  let mantissa = magnitude & 0x7f_ffff | 0x80_0000
  // Bits that fall away: 13 for a normal half, more for a subnormal one.
  let drop = exponent >= -14 ? 13 : 13 + (-14 - exponent)
  let kept = mantissa >> UInt32(drop)
  let rest = mantissa & (1 << UInt32(drop) - 1)
  let tie = UInt32(1) << UInt32(drop - 1)
  let rounded = kept + (rest > tie || (rest == tie && kept & 1 == 1) ? 1 : 0)
  // A carry out of the mantissa raises the exponent, up to infinity, as it should.
  let base = exponent >= -14 ? UInt32(exponent + 14) << 10 : 0
  return sign | UInt16(base + rounded)
}

/// The float that a float16's bits mean, exactly.
func float(halfBits half: UInt16) -> Float {
  let sign = UInt32(half & 0x8000) << 16
  let exponent = UInt32(half >> 10 & 0x1f)
  let mantissa = UInt32(half & 0x3ff)
  if exponent == 0x1f { return Float(bitPattern: sign | 0x7f80_0000 | mantissa << 13) }
  if exponent > 0 { return Float(bitPattern: sign | (exponent + 112) << 23 | mantissa << 13) }
  let value = Float(mantissa) * 0x1p-24
  return sign == 0 ? value : -value
}

/// Copies elements into another type: the same, or between float32 and float16. Both hold equally many elements.
func convert(
  _ from: UnsafeRawBufferPointer, _ fromType: ElementType, to: UnsafeMutableRawBufferPointer, _ toType: ElementType
) {
  let count = from.count / fromType.bytes
  precondition(count == to.count / toType.bytes)
  switch (fromType, toType) {
  case (.float32, .float16):
    for index in 0..<count {
      let value = from.loadUnaligned(fromByteOffset: 4 * index, as: Float.self)
      to.storeBytes(of: halfBits(value), toByteOffset: 2 * index, as: UInt16.self)
    }
  case (.float16, .float32):
    for index in 0..<count {
      let half = from.loadUnaligned(fromByteOffset: 2 * index, as: UInt16.self)
      to.storeBytes(of: float(halfBits: half), toByteOffset: 4 * index, as: Float.self)
    }
  default:
    precondition(fromType == toType)
    to.copyMemory(from: from)
  }
}
