import Foundation

#if canImport(FoundationNetworking)
  import FoundationNetworking
#endif

#if canImport(Darwin)
  import Darwin
#else
  import Glibc
#endif

/// Fetches a bundle into the store: what is there already is not fetched, what was cut off goes on, and nothing has
/// its final name before it is verified.
///
///     let downloader = BundleDownloader(store: store, base: address, key: key, sensors: sensors)
///     if case .finished(let bundle) = try await downloader.download() { ... }
public struct BundleDownloader: Sendable {
  /// How a download ended.
  public enum Outcome: Sendable {
    /// The bundle is in the store, verified.
    case finished(ModelBundle)
    /// What was fetched stays, and the next download goes on with it.
    case stopped([FailingCondition])
  }

  /// What a download tells while it works.
  public struct Progress: Sendable, Equatable {
    /// The one that grows, or is now there, by its name in the bundle.
    public let file: String
    /// Of all that is there.
    public let bytes: Int64
    /// Of all files, the manifest too.
    public let totalBytes: Int64
  }

  private let store: Store
  private let base: URL
  private let key: (any SignatureVerifier)?
  private let sensors: any Sensors
  private let unmeteredOnly: Bool
  private let configuration: @Sendable () -> URLSessionConfiguration

  /// `base` answers to `manifest.json` and `files/<sha256>`. With a key, the bundle must be signed by it. With
  /// `unmeteredOnly`, nothing is fetched while the network costs by the byte, or nobody knows. `configuration` makes the
  /// session's, with the app's own headers for example; not a background one, which takes no data tasks.
  public init(
    store: Store, base: URL, key: (any SignatureVerifier)? = nil, sensors: any Sensors, unmeteredOnly: Bool = true,
    configuration: @escaping @Sendable () -> URLSessionConfiguration = { .ephemeral }
  ) {
    self.store = store
    self.base = base
    self.key = key
    self.sensors = sensors
    self.unmeteredOnly = unmeteredOnly
    self.configuration = configuration
  }

  /// Fetches the bundle, or gives the one that is there. Throws `downloadFailed` for transport errors, wrong statuses,
  /// sizes and hashes, `quotaExceeded`, `diskFull`, `ioFailed`, what a manifest can be refused with, and
  /// `CancellationError`.
  public func download(onProgress: @escaping @Sendable (Progress) -> Void = { _ in }) async throws -> Outcome {
    if let failing = failingCondition() { return .stopped([failing]) }
    let text = try await fetchManifest()
    let manifest = try Manifest(bytes: text, key: key)
    let folder = URL(fileURLWithPath: "\(store.bundlesFolder)/\(manifest.bundleID)")
    if let bundle = try await onThread({ try kept(folder) }) { return .finished(bundle) }

    let partial = store.unfinishedBundlePath(manifest.bundleID)
    let files = manifest.files.sorted { $0.key < $1.key }
    let total = try files.reduce(Int64(text.count)) { sum, file in
      let (next, overflow) = sum.addingReportingOverflow(Int64(file.value.bytes))
      guard !overflow else { throw downloadFailed("the bundle is larger than anything") }
      return next
    }
    let elsewhere = try await onThread { try filesByHash() }
    try store.requireRoom(for: missingBytes(manifest, partial, elsewhere) + Int64(text.count))
    try makeFolder(partial)
    let lock = try FolderLock(partial)
    defer { withExtendedLifetime(lock) {} }
    var done: Int64 = 0
    for (name, entry) in files {
      do {
        try checkNetwork()
        let before = done
        try await provide(entry, "\(partial)/\(name)", elsewhere[entry.sha256] ?? []) { bytes in
          onProgress(Progress(file: name.text, bytes: before + Int64(bytes), totalBytes: total))
        }
      } catch let halt as Halt {
        return .stopped(halt.failing ?? [])
      }
      done += Int64(entry.bytes)
      onProgress(Progress(file: name.text, bytes: done, totalBytes: total))
    }
    try writeFile("\(partial)/manifest.json", text)
    let bundle = try await onThread { try ModelBundle.open(URL(fileURLWithPath: partial), key: key) }
    try removeFile("\(partial)/lock")
    try syncFolder(partial)
    guard rename(partial, folder.path) == 0 else { throw fileError("write", folder.path) }
    try syncFolder(store.bundlesFolder)
    return .finished(bundle.renamed(folder))
  }

  private func failingCondition() -> FailingCondition? {
    guard unmeteredOnly else { return nil }
    let unmetered = sensors.read().unmetered
    return unmetered == true ? nil : FailingCondition(.unmetered, unmetered == nil ? .unknown : .unmet)
  }

  /// Throws `Halt` when the network has become one that costs by the byte.
  private func checkNetwork() throws {
    if let failing = failingCondition() { throw Halt(failing: [failing]) }
  }

  /// The bundle of a folder that is there; one that was damaged since is removed.
  private func kept(_ folder: URL) throws -> ModelBundle? {
    guard isThere(folder.path) else { return nil }
    do {
      return try ModelBundle.open(folder, key: key)
    } catch let error as PocketTuneError where error.code != .ioFailed {
      try removeTree(folder.path)
      return nil
    }
  }

  private func fetchManifest() async throws -> [UInt8] {
    let body = Body()
    try await Transfer.get(base.appendingPathComponent("manifest.json"), configuration()) { response in
      guard response.statusCode == 200 else { throw downloadFailed("manifest.json: status \(response.statusCode)") }
    } take: { data in
      body.bytes += data
      guard body.bytes.count <= JSON.longest else { throw downloadFailed("manifest.json is larger than 16 MiB") }
    }
    return body.bytes
  }

  /// Makes a file be there, with the right bytes: kept, linked (or copied, where the system links none), or fetched.
  private func provide(
    _ entry: FileEntry, _ path: String, _ others: [String], _ grown: @escaping (Int) -> Void
  ) async throws {
    if await isWhole(path, entry) { return }
    try removeFile(path)
    try makeFolder(folderOf(path))
    for other in others where await isWhole(other, entry) {
      if link(other, path) == 0 { return try syncFolder(folderOf(path)) }
      try store.requireRoom(for: Int64(entry.bytes))
      return try await onThread { try copyFile(try PlainFile(other), to: path) }
    }
    let part = path + temporaryEnding
    try await fetch(entry, part, grown)
    guard await isWhole(part, entry) else {
      try removeFile(part)
      throw downloadFailed("the file \(entry.sha256.prefix(12))... came with other bytes")
    }
    guard rename(part, path) == 0 else { throw fileError("write", path) }
    try syncFolder(folderOf(path))
  }

  private func fetch(_ entry: FileEntry, _ part: String, _ grown: @escaping (Int) -> Void) async throws {
    let file = try PartialFile(part, limit: entry.bytes)
    // One that is too long is not the beginning of the right one.
    if file.size > entry.bytes { try file.restart() }
    guard file.size < entry.bytes else { return }
    let begin = file.size
    try store.requireRoom(for: Int64(entry.bytes - begin))
    let address = base.appendingPathComponent("files").appendingPathComponent(entry.sha256)
    try await Transfer.get(address, from: begin, configuration()) { response in
      switch response.statusCode {
      case 206 where begin > 0: break
      case 200: try file.restart()
      default: throw downloadFailed("the file \(entry.sha256.prefix(12))...: status \(response.statusCode)")
      }
    } take: { data in
      try file.append(data)
      grown(file.size)
      try checkNetwork()
    }
    try file.sync()
    guard file.size == entry.bytes else {
      throw downloadFailed("the file \(entry.sha256.prefix(12))... has \(file.size) bytes, not \(entry.bytes)")
    }
  }

  private func isWhole(_ path: String, _ entry: FileEntry) async -> Bool {
    guard isThere(path), size(of: path) == entry.bytes else { return false }
    return (try? await onThread { try PlainFile(path).digest() }) == entry.sha256
  }

  /// Where the files of the store's bundles lie, by hash.
  private func filesByHash() throws -> [String: [String]] {
    var found: [String: [String]] = [:]
    for id in try store.bundles() {
      let folder = "\(store.bundlesFolder)/\(id)"
      guard let file = try? PlainFile("\(folder)/manifest.json"), file.size <= JSON.longest,
        let bytes = try? file.bytes(at: 0, count: file.size), let manifest = try? Manifest(bytes: bytes)
      else { continue }
      for (name, entry) in manifest.files { found[entry.sha256, default: []].append("\(folder)/\(name)") }
    }
    return found
  }

  /// Bytes that are not there: neither here, nor in a part that goes on, nor in another bundle.
  private func missingBytes(_ manifest: Manifest, _ folder: String, _ elsewhere: [String: [String]]) -> Int64 {
    manifest.files.reduce(0) { sum, file in
      let (path, bytes) = ("\(folder)/\(file.key)", file.value.bytes)
      let kept = [path] + (elsewhere[file.value.sha256] ?? [])
      if kept.contains(where: { size(of: $0) == bytes }) { return sum }
      return sum + Int64(bytes - min(bytes, size(of: path + temporaryEnding)))
    }
  }

  /// Of a plain file; 0 for anything else.
  private func size(of path: String) -> Int {
    var status = stat()
    return lstat(path, &status) == 0 && isRegular(status) ? Int(status.st_size) : 0
  }
}

private final class Body: @unchecked Sendable {
  var bytes: [UInt8] = []
}

/// A file that grows while it is fetched, and is kept when that is cut off.
private final class PartialFile: @unchecked Sendable {
  private let path: String
  private let limit: Int
  private let descriptor: Int32
  private(set) var size: Int

  init(_ path: String, limit: Int) throws {
    self.path = path
    self.limit = limit
    descriptor = open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0o644)
    guard descriptor >= 0 else { throw fileError("create", path) }
    size = Int(lseek(descriptor, 0, SEEK_END))
  }

  deinit { close(descriptor) }

  func restart() throws {
    guard ftruncate(descriptor, 0) == 0 else { throw fileError("write", path) }
    size = 0
  }

  func append(_ data: Data) throws {
    guard data.count <= limit - size else { throw downloadFailed("a file is longer than its manifest says") }
    var done = 0
    try data.withUnsafeBytes { bytes in
      while done < bytes.count {
        let put = pwrite(descriptor, bytes.baseAddress! + done, bytes.count - done, off_t(size + done))
        if put < 0 && errno == EINTR { continue }
        guard put > 0 else { throw fileError("write", path, put == 0 ? ENOSPC : errno) }
        done += put
      }
    }
    size += done
  }

  func sync() throws { try syncFile(descriptor, path) }
}
