import Foundation

#if canImport(Darwin)
  import Darwin
#else
  import Glibc
#endif

/// One folder of the app that holds everything that the SDK keeps (`docs/sdk.md`, 2). Make one for an app and share it:
/// it knows the runs that trainers and personalizers were given it for.
public final class Store: Sendable {
  /// The folder.
  public let root: URL
  /// Most bytes of everything under `root`; nil: no limit.
  public let quotaBytes: Int64?
  /// Those of all trainers and personalizers that keep something here.
  let runs = ActiveRuns()

  /// Makes the folder where it is missing. Throws `configInvalid` for a negative quota, `ioFailed`, `diskFull`.
  public init(root: URL, quotaBytes: Int64? = nil) throws {
    if let quotaBytes, quotaBytes < 0 {
      throw PocketTuneError(.configInvalid, "quotaBytes is \(quotaBytes): it must be 0 or more")
    }
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

  var bundlesFolder: String { root.appendingPathComponent("bundles").path }
  var runsFolder: String { root.appendingPathComponent("runs").path }
  var adaptersFolder: String { root.appendingPathComponent("adapters").path }

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
    return try namesIn(adaptersFolder).filter { $0.hasSuffix(ending) }.compactMap { file in
      let path = "\(adaptersFolder)/\(file)"
      var status = stat()
      guard lstat(path, &status) == 0 else { throw fileError("read", path) }
      guard isRegular(status) else { return nil }
      return Adapter(
        name: String(file.dropLast(ending.count)), bytes: Int64(status.st_size), modified: modificationTime(status))
    }
  }

  /// Where a kept adapter lies. Throws `ioFailed` when there is none of that name, and says which there are.
  public func adapter(_ name: String) throws -> URL {
    let path = try adapterPath(name)
    var status = stat()
    guard lstat(path, &status) == 0, isRegular(status) else {
      let names = try adapters().map(\.name).joined(separator: ", ")
      throw PocketTuneError(
        .ioFailed, "there is no adapter '\(name)': the store has \(names.isEmpty ? "none" : cut(names, 300))")
    }
    return URL(fileURLWithPath: path)
  }

  /// Copies an adapter out of the store, durably.
  public func exportAdapter(_ name: String, to file: URL) throws {
    try copyFile(try PlainFile(try adapter(name).path), to: file.path)
  }

  /// Copies a file into the store as an adapter of a bundle. Throws `tensorMismatch` when it does not fit the bundle,
  /// `quotaExceeded`.
  public func importAdapter(_ name: String, from file: URL, for bundle: ModelBundle) throws {
    let target = try adapterPath(name)
    guard let pack = bundle.manifest.adapter?.tensors ?? bundle.manifest.classification?.parameters else {
      throw PocketTuneError(.configInvalid, "the bundle has nothing that an adapter could change")
    }
    let source = try TensorFile(file.path)
    try bundle.manifest.tensors[pack]!.checkViews(source)
    try requireRoom(for: source.stamp.size, at: target)
    try makeFolder(adaptersFolder)
    try copyFile(source.file, to: target)
  }

  /// Removes an adapter. Throws `ioFailed` when there is none of that name.
  public func deleteAdapter(_ name: String) throws {
    try removeFile(try adapter(name).path)
    try syncFolder(adaptersFolder)
  }

  func keepAdapter(_ name: String, _ write: (String) throws -> Void) throws {
    try makeFolder(adaptersFolder)
    try write(try adapterPath(name))
  }
}
