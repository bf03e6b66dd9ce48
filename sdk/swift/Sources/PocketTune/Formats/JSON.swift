/// A JSON value; objects keep the order of their text.
enum JSON: Sendable {
  case null
  case boolean(Bool)
  /// A number without point and exponent that fits.
  case integer(Int64)
  case double(Double)
  /// Only written: in a float's own shortest form, not a double's.
  case float(Float)
  case text(String)
  case array([JSON])
  case object([Member])

  struct Member: Sendable {
    let name: Name
    let value: JSON
  }

  var integer: Int64? {
    if case .integer(let value) = self { return value }
    return nil
  }
  /// Any number.
  var number: Double? {
    switch self {
    case .integer(let value): return Double(value)
    case .double(let value): return value
    case .float(let value): return Double(value)
    default: return nil
    }
  }
  var text: String? {
    if case .text(let value) = self { return value }
    return nil
  }
  var array: [JSON]? {
    if case .array(let values) = self { return values }
    return nil
  }
  var object: [Member]? {
    if case .object(let members) = self { return members }
    return nil
  }

  /// The member of that name; nil when there is none, or this is no object.
  func member(_ name: Name) -> JSON? {
    object?.first { $0.name == name }?.value
  }
}

extension JSON {
  /// One line of ASCII without spaces, as the native runner writes it; what is not finite is null.
  var line: String {
    var out = ""
    write(to: &out)
    return out
  }

  private func write(to out: inout String) {
    switch self {
    case .null: out += "null"
    case .boolean(let value): out += value ? "true" : "false"
    case .integer(let value): out += String(value)
    case .double(let value): out += value.isFinite ? shortestText(value) : "null"
    case .float(let value): out += value.isFinite ? shortestText(value) : "null"
    case .text(let value): JSON.write(value, to: &out)
    case .array(let values):
      out += "["
      for (index, value) in values.enumerated() {
        if index > 0 { out += "," }
        value.write(to: &out)
      }
      out += "]"
    case .object(let members):
      out += "{"
      for (index, member) in members.enumerated() {
        if index > 0 { out += "," }
        JSON.write(member.name.text, to: &out)
        out += ":"
        member.value.write(to: &out)
      }
      out += "}"
    }
  }

  private static func write(_ text: String, to out: inout String) {
    out += "\""
    for unit in text.utf16 {
      switch unit {
      case 0x22: out += "\\\""
      case 0x5c: out += "\\\\"
      case 0x20..<0x7f: out.unicodeScalars.append(Unicode.Scalar(UInt8(unit)))
      default:
        let digits = String(unit, radix: 16)
        out += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
      }
    }
    out += "\""
  }
}
