import Foundation
import Testing

@testable import PocketTune

/// The documents that take most memory for their size: as long as a document may be, with as many values as it may have.
@Suite(.serialized) struct DocumentMemory {
  private func document(_ piece: String, values: Int, _ begin: String = "{\"a\":[", _ end: String = "]}") -> [UInt8] {
    let text = piece.split(separator: "\"", omittingEmptySubsequences: false).enumerated()
      .filter { $0.offset % 2 == 1 }.map(\.element.utf8.count).reduce(0, +)
    let count = min((JSON.mostValues - 10) / values, (JSON.mostText - 1000) / max(1, text))
    var bytes = Array(begin.utf8)
    bytes.reserveCapacity(JSON.longest)
    for index in 0..<count { bytes.append(contentsOf: ((index > 0 ? "," : "") + piece).utf8) }
    bytes.append(contentsOf: end.utf8)
    bytes.append(contentsOf: repeatElement(UInt8(ascii: " "), count: JSON.longest - bytes.count))
    return bytes
  }

  /// A line of this process's status, in bytes.
  private func status(_ name: String) throws -> Int {
    let text = try String(contentsOfFile: "/proc/self/status", encoding: .utf8)
    let line = try #require(text.split(separator: "\n").first { $0.hasPrefix(name) })
    return try #require(line.split(whereSeparator: \.isWhitespace).dropFirst().first.flatMap { Int($0) }) * 1024
  }

  #if os(Linux)
    @Test func noDocumentTakesMoreThanTwiceItsCap() throws {
      let nested = String(repeating: "{\"a\":", count: 30) + "0" + String(repeating: "}", count: 30)
      let pieces = [
        ("1000", 1), ("0.5", 1), ("\"abcd\"", 1), ("[0]", 2), ("[]", 1), ("{\"abcd\":0}", 2), ("{\"a\":0,\"b\":0}", 3),
        (nested, 31), ("\"sixteen bytes...\"", 1),
      ]
      for (piece, values) in pieces {
        let bytes = document(piece, values: values)
        #expect(bytes.count == JSON.longest)
        // Tests that run beside this one only add to it.
        var grown = Int.max
        for _ in 0..<5 where grown > JSON.longest { grown = min(grown, try growth(bytes)) }
        print("figure: \(piece.prefix(40)): \(grown) bytes beside the document's \(bytes.count)")
        #expect(grown <= JSON.longest, "\(piece.prefix(40))")
      }
    }
  #endif

  #if os(Linux)
    /// Bytes by which parsing raises the largest resident size.
    private func growth(_ bytes: [UInt8]) throws -> Int {
      try #require(FileManager.default.isWritableFile(atPath: "/proc/self/clear_refs"))
      // What was freed before goes back to the system, or it would be used again without being seen.
      typealias Trim = @convention(c) (Int) -> Int32
      let trim = try #require(dlsym(nil, "malloc_trim"))
      _ = unsafeBitCast(trim, to: Trim.self)(0)
      // Sets the largest resident size back to the present one.
      try "5".write(toFile: "/proc/self/clear_refs", atomically: false, encoding: .utf8)
      let before = try status("VmRSS:")
      let tree = try JSON.parse(bytes)
      defer { withExtendedLifetime(tree) {} }
      return try status("VmHWM:") - before
    }
  #endif

  @Test func whatIsBeyondTheLimitsIsRefused() throws {
    let most = "[" + String(repeating: "0,", count: JSON.mostValues - 2) + "0]"
    #expect(try JSON.parse(Array(most.utf8)).array?.count == JSON.mostValues - 1)
    #expect(throws: JSONError.self) { try JSON.parse(Array(("[0," + most.dropFirst()).utf8)) }
    let text = String(repeating: "x", count: JSON.mostText)
    #expect(try JSON.parse(Array("\"\(text)\"".utf8)).text == text)
    #expect(throws: JSONError.self) { try JSON.parse(Array("\"\(text)x\"".utf8)) }
  }
}
