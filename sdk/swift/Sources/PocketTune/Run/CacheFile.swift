import Foundation

/// What a preparation filled, in one file: a safetensors file with one tensor `[items, ...]` for each cache, whose
/// metadata holds the identity of the run and the data's hash. It is complete under its name, or absent.
final class CacheFile: CacheStore {
  private let path: String
  private let identity: Metadata
  private let entries: [Name: TensorEntry]
  private let dataBytes: Int
  private var complete: TensorFile?
  private var growing: AtomicFile?
  private var dataBegin = 0

  var isComplete: Bool { complete != nil }

  /// Opens a complete file of that identity; when there is none, or it is damaged, begins a new one. Throws
  /// `stateMismatch` when it is whole but belongs to another run, `diskFull` when there is no room.
  init(
    _ path: String, _ bundle: ModelBundle, _ caches: [Name], items: [Scope: Int], identity: Metadata,
    damaged: (String) -> Void
  ) throws {
    self.path = path
    self.identity = identity
    entries = try CacheFile.plan(bundle, caches, items)
    dataBytes = entries.values.map(\.end).max() ?? 0
    if try openComplete() { return }
    if access(path, F_OK) == 0 { damaged(path) }
    let file = try AtomicFile(path)
    let head = header(String(repeating: "0", count: 64))
    dataBegin = head.count
    try file.reserve(dataBegin + dataBytes)
    try file.append(head)
    growing = file
  }

  /// Where each cache will lie.
  static func plan(_ bundle: ModelBundle, _ caches: [Name], _ items: [Scope: Int]) throws -> [Name: TensorEntry] {
    var entries: [Name: TensorEntry] = [:]
    var end = 0
    for name in caches {
      let cache = bundle.manifest.caches[name]!
      let count = items[cache.scope]!
      guard cache.shape.count < TensorHeader.mostDimensions else {
        throw PocketTuneError(
          .bundleManifestInvalid,
          "the cache '\(name)' has 8 dimensions, and its file needs one more for the items: export the bundle again")
      }
      let (bytes, overflow) = count.multipliedReportingOverflow(by: cache.storedBytes)
      guard !overflow, bytes <= 1 << 42 else {
        throw PocketTuneError(.configInvalid, "the cache '\(name)' would be too large: use fewer samples")
      }
      entries[name] = TensorEntry(
        name: name, type: cache.stored, shape: [count] + cache.shape, begin: end, end: end + bytes)
      end += bytes
    }
    return entries
  }

  private func openComplete() throws -> Bool {
    guard access(path, F_OK) == 0 else { return false }
    do {
      let file = try TensorFile(path)
      guard file.metadata["sha256"] == (try file.dataDigest()) else { return false }
      try checkIdentity(file.metadata, identity, path)
      for entry in entries.values { _ = try file.require(entry.name, entry.type, entry.shape) }
      complete = file
      return true
    } catch let error as PocketTuneError where error.code == .safetensorsInvalid {
      return false
    }
  }

  private func header(_ digest: String) -> [UInt8] {
    tensorFileHeader(Array(entries.values), identity.merging(["sha256": digest]) { $1 })
  }

  /// Ends the writing: hashes what was written, and gives the file its name.
  func finish() throws {
    guard let file = growing else { return }
    var digest = Digest256()
    let piece = try Buffer(1 << 18)
    var at = 0
    while at < dataBytes {
      let part = UnsafeMutableRawBufferPointer(rebasing: piece.bytes[..<min(piece.bytes.count, dataBytes - at)])
      try file.read(part, at: dataBegin + at)
      digest.update(UnsafeRawBufferPointer(part))
      at += part.count
    }
    try header(digest.hex()).withUnsafeBytes { try file.write($0, at: 0) }
    try file.commit()
    growing = nil
    complete = try TensorFile(path)
  }

  private func offset(_ cache: Name, _ item: Int, _ bytes: Int) throws -> Int {
    guard let entry = entries[cache] else {
      throw PocketTuneError(
        .bundleManifestInvalid, "no program in preparation fills the cache '\(cache)': export the bundle again")
    }
    let offset = entry.begin + item * bytes
    precondition(offset >= entry.begin && offset + bytes <= entry.end)
    return offset
  }

  func read(_ cache: Name, _ item: Int, into: UnsafeMutableRawBufferPointer) throws {
    let offset = try offset(cache, item, into.count)
    if let growing { return try growing.read(into, at: dataBegin + offset) }
    try complete!.read(complete!.header.find(cache)!, into: into, at: offset - entries[cache]!.begin)
  }

  func write(_ cache: Name, _ item: Int, _ bytes: UnsafeRawBufferPointer) throws {
    guard let growing else {
      throw PocketTuneError(
        .bundleManifestInvalid,
        "the training program fills the cache '\(cache.short)', which only preparation may: export the bundle again")
    }
    try growing.write(bytes, at: dataBegin + (try offset(cache, item, bytes.count)))
  }
}
