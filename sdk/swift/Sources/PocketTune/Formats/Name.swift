/// A name in a file, compared by its bytes.
///
/// Two Swift strings are equal when they look the same, whatever code points they are made of. Files, and the other
/// readers of them, tell such names apart.
struct Name: Hashable, Comparable, Sendable, CustomStringConvertible, ExpressibleByStringLiteral {
  let text: String

  init(_ text: String) { self.text = text }
  init(stringLiteral text: String) { self.text = text }

  var description: String { text }
  /// For a message: names may be long, and each may have thousands of members.
  var short: String { cut(text, 100) }

  static func == (one: Name, other: Name) -> Bool { one.text.utf8.elementsEqual(other.text.utf8) }
  /// By bytes of UTF-8, which is the order of code points.
  static func < (one: Name, other: Name) -> Bool { one.text.utf8.lexicographicallyPrecedes(other.text.utf8) }

  func hash(into hasher: inout Hasher) {
    for byte in text.utf8 { hasher.combine(byte) }
  }
}

/// The beginning of a text that may be long. By code points: one character may have a million of them.
func cut(_ text: String, _ most: Int) -> String {
  text.utf8.count > most ? String(String.UnicodeScalarView(text.unicodeScalars.prefix(most))) + "..." : text
}
