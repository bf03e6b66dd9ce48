import Foundation
import Testing

@testable import PocketTune

let repository = URL(fileURLWithPath: #filePath)
  .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
  .deletingLastPathComponent().deletingLastPathComponent()
let vectors = repository.appendingPathComponent("spec/vectors")

func json(_ name: String) throws -> JSON {
  try JSON.parse([UInt8](Data(contentsOf: repository.appendingPathComponent(name))))
}

extension JSON {
  subscript(_ name: Name) -> JSON { member(name) ?? .null }
  var list: [JSON] { array ?? [] }
  var boolean: Bool? {
    if case .boolean(let value) = self { return value }
    return nil
  }
  /// Whole numbers that JSON readers elsewhere keep as text.
  var unsigned: UInt64 { text.flatMap { UInt64($0) } ?? UInt64(integer!) }
}

/// The code that an operation fails with; nil when it succeeds.
func code(_ body: () throws -> Void) -> ErrorCode? {
  do {
    try body()
    return nil
  } catch let error as PocketTuneError {
    return error.code
  } catch {
    Issue.record("\(error) is no PocketTuneError")
    return .bug
  }
}

/// A folder of a test's own, removed with it.
final class TemporaryFolder {
  let url: URL

  init() throws {
    url = FileManager.default.temporaryDirectory.appendingPathComponent("pockettune-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(at: url) }

  func path(_ name: String) -> String { url.appendingPathComponent(name).path }
}
