/// Why a text is not the JSON of `spec/bundle.md`, 1.
struct JSONError: Error {
  let reason: String
}

extension JSON {
  /// Levels of objects and lists that a document may have.
  static let deepest = 32
  /// Bytes of a document that is read.
  static let longest = 16 << 20
  static let mostValues = 1 << 16
  static let mostText = 1 << 20

  /// Parses strictly: UTF-8 without byte-order mark, no duplicate names, at most 32 levels, numbers finite as
  /// float64, no lone surrogates. Values and text are counted while they are read, so that no document takes more than
  /// twice its cap. Throws `JSONError`.
  static func parse(_ bytes: UnsafeRawBufferPointer) throws -> JSON {
    if let broken = firstBrokenByte(bytes) { throw JSONError(reason: "byte \(broken) is not UTF-8") }
    var parser = JSONParser(bytes: bytes)
    return try parser.document()
  }

  static func parse(_ bytes: [UInt8]) throws -> JSON {
    try bytes.withUnsafeBytes { try parse($0) }
  }
}

/// Where bytes stop being UTF-8 (no overlong forms, no surrogates); nil when all of them are.
private func firstBrokenByte(_ bytes: UnsafeRawBufferPointer) -> Int? {
  var at = 0
  while at < bytes.count {
    let first = bytes[at]
    if first < 0x80 {
      at += 1
      continue
    }
    let extra: Int
    var value: UInt32
    let lowest: UInt32
    switch first {
    case 0xc0..<0xe0: (extra, value, lowest) = (1, UInt32(first & 0x1f), 0x80)
    case 0xe0..<0xf0: (extra, value, lowest) = (2, UInt32(first & 0x0f), 0x800)
    case 0xf0..<0xf8: (extra, value, lowest) = (3, UInt32(first & 0x07), 0x10000)
    default: return at
    }
    guard bytes.count - at > extra else { return at }
    for offset in 1...extra {
      let next = bytes[at + offset]
      guard next & 0xc0 == 0x80 else { return at }
      value = value << 6 | UInt32(next & 0x3f)
    }
    guard value >= lowest, value <= 0x10ffff, !(0xd800..<0xe000).contains(value) else { return at }
    at += extra + 1
  }
  return nil
}

private struct JSONParser {
  let bytes: UnsafeRawBufferPointer
  var at = 0
  private var values = 0
  private var textBytes = 0

  init(bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

  mutating func document() throws -> JSON {
    let result = try value(depth: 0)
    skipSpace()
    if at != bytes.count { throw failure("there is text after the value") }
    return result
  }

  private func failure(_ reason: String) -> JSONError { JSONError(reason: "\(reason) at byte \(at)") }

  /// The byte here; 0, which no rule takes, at the end.
  private var here: UInt8 { at < bytes.count ? bytes[at] : 0 }

  private mutating func skipSpace() {
    while at < bytes.count, [0x20, 0x09, 0x0a, 0x0d].contains(bytes[at]) { at += 1 }
  }

  private mutating func accept(_ wanted: Character) -> Bool {
    guard at < bytes.count, bytes[at] == wanted.asciiValue else { return false }
    at += 1
    return true
  }

  private mutating func value(depth: Int) throws -> JSON {
    values += 1
    if values > JSON.mostValues { throw failure("more than \(JSON.mostValues) values") }
    skipSpace()
    switch here {
    case UInt8(ascii: "{"): return try object(depth: depth + 1)
    case UInt8(ascii: "["): return try array(depth: depth + 1)
    case UInt8(ascii: "\""): return .text(try string())
    case UInt8(ascii: "t"): return try word("true", .boolean(true))
    case UInt8(ascii: "f"): return try word("false", .boolean(false))
    case UInt8(ascii: "n"): return try word("null", .null)
    default: return try number()
    }
  }

  private mutating func word(_ wanted: StaticString, _ value: JSON) throws -> JSON {
    let length = wanted.utf8CodeUnitCount
    guard bytes.count - at >= length, (0..<length).allSatisfy({ bytes[at + $0] == wanted.utf8Start[$0] }) else {
      throw failure("a value is missing")
    }
    at += length
    return value
  }

  private mutating func object(depth: Int) throws -> JSON {
    if depth > JSON.deepest { throw failure("more than \(JSON.deepest) levels") }
    at += 1
    var members: [JSON.Member] = []
    var names: Set<Name> = []
    skipSpace()
    if accept("}") { return .object([]) }
    repeat {
      skipSpace()
      if here != UInt8(ascii: "\"") { throw failure("a member's name is missing") }
      let name = Name(try string())
      if !names.insert(name).inserted { throw failure("a member stands twice") }
      skipSpace()
      if !accept(":") { throw failure("':' is missing") }
      members.append(JSON.Member(name: name, value: try value(depth: depth)))
      skipSpace()
    } while accept(",")
    if !accept("}") { throw failure("'}' is missing") }
    return .object(members)
  }

  private mutating func array(depth: Int) throws -> JSON {
    if depth > JSON.deepest { throw failure("more than \(JSON.deepest) levels") }
    at += 1
    var values: [JSON] = []
    skipSpace()
    if accept("]") { return .array([]) }
    repeat {
      values.append(try value(depth: depth))
      skipSpace()
    } while accept(",")
    if !accept("]") { throw failure("']' is missing") }
    return .array(values)
  }

  private mutating func string() throws -> String {
    at += 1
    let begin = at
    let room = JSON.mostText - textBytes
    var text: [UInt8] = []
    while true {
      guard at < bytes.count else { throw failure("a text is cut off") }
      let byte = bytes[at]
      if byte < 0x20 { throw failure("a control character in a text") }
      at += 1
      switch byte {
      case UInt8(ascii: "\""):
        textBytes += at - 1 - begin
        return String(decoding: text, as: UTF8.self)
      case UInt8(ascii: "\\"): try escape(into: &text)
      default: text.append(byte)
      }
      if at - begin > room { throw failure("more than \(JSON.mostText) bytes of text") }
    }
  }

  private mutating func escape(into text: inout [UInt8]) throws {
    let letter = here
    at += 1
    switch letter {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): text.append(letter)
    case UInt8(ascii: "b"): text.append(0x08)
    case UInt8(ascii: "f"): text.append(0x0c)
    case UInt8(ascii: "n"): text.append(0x0a)
    case UInt8(ascii: "r"): text.append(0x0d)
    case UInt8(ascii: "t"): text.append(0x09)
    case UInt8(ascii: "u"): text.append(contentsOf: String(Character(try escapedScalar())).utf8)
    default: throw failure("an unknown escape")
    }
  }

  private mutating func escapedScalar() throws -> Unicode.Scalar {
    var value = UInt32(try fourDigits())
    if (0xd800..<0xdc00).contains(value) {
      guard accept("\\"), accept("u") else { throw failure("half a surrogate pair") }
      let low = UInt32(try fourDigits())
      guard (0xdc00..<0xe000).contains(low) else { throw failure("half a surrogate pair") }
      value = 0x10000 + (value - 0xd800) << 10 + (low - 0xdc00)
    }
    guard let scalar = Unicode.Scalar(value) else { throw failure("half a surrogate pair") }
    return scalar
  }

  private mutating func fourDigits() throws -> UInt16 {
    var value: UInt16 = 0
    for _ in 0..<4 {
      guard let digit = Character(Unicode.Scalar(here)).hexDigitValue, here < 0x80 else {
        throw failure("an escape is wrong")
      }
      value = value << 4 | UInt16(digit)
      at += 1
    }
    return value
  }

  private mutating func digits() -> Int {
    let begin = at
    while (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(here) { at += 1 }
    return at - begin
  }

  private mutating func number() throws -> JSON {
    let begin = at
    var whole = true
    _ = accept("-")
    if accept("0") {
      if digits() > 0 { throw failure("a number starts with 0") }
    } else if digits() == 0 {
      throw failure("a value is missing")
    }
    if accept(".") {
      whole = false
      if digits() == 0 { throw failure("a number is cut off") }
    }
    if accept("e") || accept("E") {
      whole = false
      if !accept("+") { _ = accept("-") }
      if digits() == 0 { throw failure("a number is cut off") }
    }
    let token = String(decoding: bytes[begin..<at], as: UTF8.self)
    if whole, let integer = Int64(token) { return .integer(integer) }
    guard let value = Double(token), value.isFinite else { throw failure("a number is not finite") }
    return .double(value)
  }
}
