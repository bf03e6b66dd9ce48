import Foundation

#if canImport(Darwin)
  import Darwin
#else
  import Glibc
#endif

/// One folder of the app that holds everything that the SDK keeps (`docs/sdk.md`, 2).
public final class Store: Sendable {
  /// The folder.
  public let root: URL
  /// Most bytes of everything under `root`; nil: no limit.
  public let quotaBytes: Int64?
  /// Those of all trainers and personalizers that keep something here.
  let runs = ActiveRuns()

  /// Makes the folder where it is missing. Throws `ioFailed`, `diskFull`.
  public init(root: URL, quotaBytes: Int64? = nil) throws {
    self.root = root
    self.quotaBytes = quotaBytes
    try makeFolder(root.path)
    #if os(iOS)
      try protect()
    #endif
  }

  #if os(iOS)
    /// What was learned from a person goes into no backup, and bundles can be fetched again. Files take the folder's
    /// class: a locked phone reads them once it was unlocked after its start, even in an app that asks for more, since
    /// training happens while nobody looks. *Never compiled here.*
    private func protect() throws {
      do {
        var folder = root
        var values = URLResourceValues()
        values.isExcludedFromBackup = true
        try folder.setResourceValues(values)
        try FileManager.default.setAttributes(
          [.protectionKey: FileProtectionType.completeUntilFirstUserAuthentication], ofItemAtPath: root.path)
      } catch {
        throw PocketTuneError(.ioFailed, "cannot protect the folder '\(root.path)': \(error.localizedDescription)")
      }
    }
  #endif

  var bundles: String { root.appendingPathComponent("bundles").path }
  private var runsFolder: String { root.appendingPathComponent("runs").path }
  private var adaptersFolder: String { root.appendingPathComponent("adapters").path }

  /// Folder of a run. Throws `configInvalid` for a name that is none.
  func runFolder(_ name: String) throws -> String { "\(runsFolder)/\(try Store.checked(name))" }

  func adapterPath(_ name: String) throws -> String { "\(adaptersFolder)/\(try Store.checked(name)).safetensors" }

  /// 1 to 64 of `A-Z a-z 0-9 . _ -`, not starting with a point.
  static func checked(_ name: String) throws -> String {
    let allowed = name.utf8.allSatisfy { byte in
      switch byte {
      case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x2e, 0x5f, 0x2d: return true
      default: return false
      }
    }
    guard allowed, (1...64).contains(name.utf8.count), name.utf8.first != 0x2e else {
      throw PocketTuneError(
        .configInvalid, "'\(name)' is no name: use 1 to 64 of A-Z a-z 0-9 . _ -, not starting with a point")
    }
    return name
  }

  /// A kept adapter, or parameters.
  public struct Adapter: Sendable, Equatable {
    /// As it was given to the run.
    public let name: String
    /// Of its file.
    public let bytes: Int64
    /// When it was last written.
    public let modified: Date
  }

  /// What is kept, by name.
  public func adapters() throws -> [Adapter] {
    let ending = ".safetensors"
    return try namesIn(adaptersFolder).filter { $0.hasSuffix(ending) }.map { file in
      let path = "\(adaptersFolder)/\(file)"
      var status = stat()
      guard lstat(path, &status) == 0 else { throw fileError("read", path) }
      return Adapter(
        name: String(file.dropLast(ending.count)), bytes: Int64(status.st_size), modified: modificationTime(status))
    }
  }

  /// Where a kept adapter lies. Throws `dataNotFound` when there is none of that name.
  public func adapter(_ name: String) throws -> URL {
    let path = try adapterPath(name)
    guard access(path, F_OK) == 0 else {
      throw PocketTuneError(.dataNotFound, "there is no adapter '\(name)': list the adapters to see which there are")
    }
    return URL(fileURLWithPath: path)
  }

  /// Copies an adapter out of the store, durably.
  public func exportAdapter(_ name: String, to file: URL) throws {
    try copy(try adapter(name).path, to: file.path)
  }

  /// Copies a file into the store as an adapter of a bundle. Throws `tensorMismatch` when it does not fit the bundle,
  /// `quotaExceeded`.
  public func importAdapter(_ name: String, from file: URL, for bundle: ModelBundle) throws {
    let target = try adapterPath(name)
    guard let pack = bundle.manifest.adapter?.tensors ?? bundle.manifest.classification?.parameters else {
      throw PocketTuneError(.configInvalid, "the bundle has nothing that an adapter could change")
    }
    try bundle.manifest.tensors[pack]!.checkViews(file.path)
    try requireRoom(for: Int64(try PlainFile(file.path).size), at: target)
    try makeFolder(adaptersFolder)
    try copy(file.path, to: target)
  }

  /// Removes an adapter, if it is there.
  public func deleteAdapter(_ name: String) throws {
    try removeFile(try adapterPath(name))
    if access(adaptersFolder, F_OK) == 0 { try syncFolder(adaptersFolder) }
  }

  func keepAdapter(_ name: String, _ write: (String) throws -> Void) throws {
    try makeFolder(adaptersFolder)
    try write(try adapterPath(name))
  }

  private func copy(_ from: String, to target: String) throws {
    let source = try PlainFile(from)
    let file = try AtomicFile(target)
    let piece = try Buffer(1 << 18)
    var at = 0
    while at < source.size {
      let part = UnsafeMutableRawBufferPointer(rebasing: piece.bytes[..<min(piece.bytes.count, source.size - at)])
      try source.read(part, at: at)
      try file.append(UnsafeRawBufferPointer(part))
      at += part.count
    }
    try file.commit()
  }
}

extension Store {
  /// What was removed.
  public struct Deleted: Sendable, Equatable {
    /// How many.
    public var files = 0
    /// Their sizes, summed.
    public var bytes: Int64 = 0
  }

  /// Bytes of all files under `root`.
  public var usedBytes: Int64 { count(root.path, without: nil).bytes }

  /// Throws `quotaExceeded` when that many bytes would not fit in the place of what lies at `path` now.
  func requireRoom(for bytes: Int64, at path: String? = nil) throws {
    guard let quotaBytes else { return }
    let (sum, overflow) = count(root.path, without: path).bytes.addingReportingOverflow(bytes)
    guard !overflow, sum <= quotaBytes else {
      throw PocketTuneError(
        .quotaExceeded, "\(bytes) more bytes would pass the store's quota of \(quotaBytes): delete something first")
    }
  }

  private func count(_ path: String, without excluded: String?) -> Deleted {
    var found = Deleted()
    guard path != excluded else { return found }
    var status = stat()
    guard lstat(path, &status) == 0 else { return found }
    guard status.st_mode & S_IFMT == S_IFDIR else { return Deleted(files: 1, bytes: Int64(status.st_size)) }
    for name in (try? namesIn(path)) ?? [] {
      let part = count("\(path)/\(name)", without: excluded)
      found.files += part.files
      found.bytes += part.bytes
    }
    return found
  }

  /// Lets every run in this store end as `pause()` of its trainer or personalizer does, and returns when all have.
  public func pauseRuns() async { await runs.pause() }

  /// Removes everything that was learnt from a person: all runs and all adapters. Runs of this process are paused
  /// first, and none begins meanwhile. Throws `ioFailed` when another process trains, or when anything is left, naming it.
  public func deletePersonalData() async throws -> Deleted {
    try await runs.withoutAny { try await onThread { [self] in try removePersonalData() } }
  }

  private func removePersonalData() throws -> Deleted {
    // All locks are held before the first file goes.
    let folders = try namesIn(runsFolder).map { "\(runsFolder)/\($0)/work" }
    let locks = try folders.filter { access($0, F_OK) == 0 }.map { try FolderLock($0) }
    defer { withExtendedLifetime(locks) {} }
    var deleted = Deleted()
    for folder in [runsFolder, adaptersFolder] where access(folder, F_OK) == 0 {
      let found = count(folder, without: nil)
      deleted.files += found.files
      deleted.bytes += found.bytes
      try? FileManager.default.removeItem(atPath: folder)
      if let left = FileManager.default.enumerator(atPath: folder)?.nextObject() as? String {
        throw PocketTuneError(.ioFailed, "'\(folder)/\(left)' could not be removed: try again")
      }
      guard access(folder, F_OK) != 0 else { throw PocketTuneError(.ioFailed, "'\(folder)' is still there: try again") }
    }
    try syncFolder(root.path)
    return deleted
  }

  /// Removes a run: its states, caches and result. Throws `ioFailed` while it works.
  func discardRun(_ name: String) throws {
    let folder = try runFolder(name)
    guard access(folder, F_OK) == 0 else { return }
    let lock = access("\(folder)/work", F_OK) == 0 ? try FolderLock("\(folder)/work") : nil
    defer { withExtendedLifetime(lock) {} }
    do {
      try FileManager.default.removeItem(atPath: folder)
    } catch {
      throw PocketTuneError(.ioFailed, "'\(folder)' could not be removed: try again")
    }
    try syncFolder(runsFolder)
  }
}
