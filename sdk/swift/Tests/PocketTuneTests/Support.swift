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

/// Gives the same number everywhere, whatever it is given.
struct Constant: Engine {
  var name = "executorch"
  var version: String?
  var value: Float = 0

  final class Run: Session {
    let value: Float
    init(_ value: Float) { self.value = value }

    func run(inputs: [UnsafeRawBufferPointer], outputs: [UnsafeMutableRawBufferPointer]) {
      for output in outputs { output.bindMemory(to: Float.self).update(repeating: value) }
    }
  }

  func open(_ bundle: ModelBundle, _ program: Program) -> any Session { Run(value) }
}

/// A device that may always work.
struct Ready: Sensors {
  func read() -> DeviceState {
    DeviceState(
      charging: true, batteryPercent: 80, thermal: .nominal, idle: true, unmetered: true, powerSave: false,
      freeStorageBytes: 1 << 50, availableMemoryBytes: 1 << 50)
  }
}

/// Copies a bundle of the vectors, whose vocabulary then has the mark that it lacks; gives what stands behind the
/// identifier and the signature of its manifest.
func usableManifest(_ name: String, in folder: URL) throws -> [UInt8] {
  try FileManager.default.copyItem(at: vectors.appendingPathComponent(name), to: folder)
  var text = try String(contentsOf: folder.appendingPathComponent("manifest.json"), encoding: .utf8)
  let vocabulary = folder.appendingPathComponent("tokenizer/vocab.json")
  if let old = try? Data(contentsOf: vocabulary) {
    let new = Data("{\"!</w>\":0,\"<|endoftext|>\":1,\"<|startoftext|>\":2}".utf8)
    try new.write(to: vocabulary)
    func entry(_ bytes: Data) -> String { "{\"bytes\":\(bytes.count),\"sha256\":\"\(Digest256.hex(of: bytes))\"}" }
    try #require(text.contains(entry(old)))
    text = text.replacingOccurrences(of: entry(old), with: entry(new))
  }
  return Array(text.utf8.dropFirst("{\"bundle_id\":\"\",\"signature\":\"\",".utf8.count + 64))
}

/// Writes a manifest whose identifier is that of the rest.
func writeManifest(_ rest: [UInt8], in folder: URL) throws {
  let id = Digest256.hex(of: Data([UInt8(ascii: "{")] + rest))
  try Data(Array("{\"bundle_id\":\"\(id)\",\"signature\":\"\",".utf8) + rest)
    .write(to: folder.appendingPathComponent("manifest.json"))
}
