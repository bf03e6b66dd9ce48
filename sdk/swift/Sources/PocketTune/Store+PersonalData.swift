import Foundation

extension Store {
  /// What was removed.
  public struct Deleted: Sendable, Equatable {
    /// How many.
    public var files = 0
    /// Their sizes, summed.
    public var bytes: Int64 = 0
  }

  /// Bytes of all files under `root`; one that several bundles share counts once. It looks at every file. Throws
  /// `ioFailed`.
  public func usedBytes() throws -> Int64 { try measure(root.path).bytes }

  /// Throws `quotaExceeded` when that many bytes would not fit in the place of what lies at `path` now.
  func requireRoom(for bytes: Int64, at path: String? = nil) throws {
    guard let quotaBytes else { return }
    let used = try measure(root.path, without: path).bytes
    let (sum, overflow) = used.addingReportingOverflow(bytes)
    guard !overflow, sum <= quotaBytes else {
      throw PocketTuneError(
        .quotaExceeded,
        "\(bytes) more bytes do not fit: \(used) of \(quotaBytes) are taken; delete a bundle or an adapter, or raise "
          + "quotaBytes")
    }
  }

  /// Lets every run in this store end as `pause()` of its trainer or personalizer does, and returns when all have.
  public func pauseRuns() async { await runs.pause() }

  /// Removes everything that was learned from a person: all runs and all adapters. Runs of this process are paused
  /// first, and none begins meanwhile. Throws `ioFailed` when another process trains, or when anything is left, naming
  /// it.
  public func deletePersonalData() async throws -> Deleted {
    try await runs.withoutAny { try await onThread { [self] in try removePersonalData() } }
  }

  private func removePersonalData() throws -> Deleted {
    // All locks are held before the first file goes.
    let folders = try namesIn(runsFolder).map { "\(runsFolder)/\($0)/work" }
    let locks = try folders.filter(isThere).map { try FolderLock($0) }
    defer { withExtendedLifetime(locks) {} }
    var deleted = Deleted()
    for folder in [runsFolder, adaptersFolder] where isThere(folder) {
      let found = try measure(folder)
      deleted.files += found.files
      deleted.bytes += found.bytes
      try? FileManager.default.removeItem(atPath: folder)
      if let left = FileManager.default.enumerator(atPath: folder)?.nextObject() as? String {
        throw PocketTuneError(.ioFailed, "'\(folder)/\(left)' could not be removed: try again")
      }
      guard !isThere(folder) else { throw PocketTuneError(.ioFailed, "'\(folder)' is still there: try again") }
    }
    try syncFolder(root.path)
    return deleted
  }

  /// Removes a run: its states, caches and result. Throws `ioFailed` while it works.
  func discardRun(_ name: String) throws {
    let folder = try runFolder(name)
    guard isThere(folder) else { return }
    let lock = isThere("\(folder)/work") ? try FolderLock("\(folder)/work") : nil
    defer { withExtendedLifetime(lock) {} }
    try removeTree(folder)
    try syncFolder(runsFolder)
  }
}
