import Foundation

/// A folder that an export wrote, every byte of it verified (`spec/bundle.md`).
///
///     let bundle = try ModelBundle.open(folder)
///     bundle.task  // "classification" or "text_to_image"
public final class ModelBundle: Sendable {
  /// Where it lies.
  public let folder: URL
  let manifest: Manifest
  /// Of the files as they were when they were hashed.
  private let verified: [Name: FileStamp]

  /// 64 lower-case hexadecimal digits that stand for every byte of the bundle.
  public var bundleID: String { manifest.bundleID }
  /// A text for people.
  public var name: String { manifest.name }
  /// "text_to_image" or "classification".
  public var task: String { manifest.task }
  /// Version of the ExecuTorch that made the programs, like "1.5.1"; empty when unknown.
  public var executorchVersion: String { manifest.tools["executorch"] ?? "" }
  /// Classes of a classification bundle, else nil.
  public var classes: Int? { manifest.classification?.classes }
  /// Shape of one example of a classification bundle, else nil.
  public var inputShape: [Int]? { manifest.classification?.inputShape }
  /// Bits of weights that a classification bundle can predict with, ascending.
  public var predictionBits: [Int] { (manifest.classification?.predictPrograms.values).map { $0.sorted() } ?? [] }
  /// Height and width of the pictures of a text_to_image bundle in pixels, else nil.
  public var pictureSize: (height: Int, width: Int)? { manifest.image.map { ($0.height, $0.width) } }

  /// Opens a bundle in the order of the specification. With a key its signature must hold.
  ///
  /// Throws `bundleNotFound`, `bundleManifestInvalid`, `bundleCorrupt`, `bundleFormatUnsupported`,
  /// `bundlePathInvalid`, `bundleSignatureInvalid`, `safetensorsInvalid`, `tensorMismatch`, `ioFailed`.
  public static func open(_ folder: URL, key: (any SignatureVerifier)? = nil) throws -> ModelBundle {
    try ModelBundle(folder, key: key)
  }

  private init(_ folder: URL, key: (any SignatureVerifier)?) throws {
    self.folder = folder
    manifest = try Manifest(bytes: try ModelBundle.manifestBytes(folder), key: key)
    let names = manifest.files.keys.sorted()
    // Sizes first: hashing is slow, and a file that was cut off is the common case.
    for name in names { try ModelBundle.checkSize(folder, name, manifest.files[name]!.bytes) }
    var verified: [Name: FileStamp] = [:]
    for name in names {
      let file = try PlainFile(folder.appendingPathComponent(name.text).path)
      guard try file.digest() == manifest.files[name]!.sha256 else { throw corrupt("'\(file.path)' has changed bytes") }
      verified[name] = file.stamp
    }
    self.verified = verified
    for (name, tensor) in manifest.tensors {
      if let file = tensor.file { _ = try tensors(file).require(name, tensor.type, tensor.shape) }
    }
  }

  private init(_ folder: URL, _ manifest: Manifest, _ verified: [Name: FileStamp]) {
    (self.folder, self.manifest, self.verified) = (folder, manifest, verified)
  }

  /// The same bundle, whose folder was renamed: its files are the verified ones.
  func renamed(_ folder: URL) -> ModelBundle { ModelBundle(folder, manifest, verified) }

  private static func manifestBytes(_ folder: URL) throws -> [UInt8] {
    let path = folder.appendingPathComponent("manifest.json").path
    var status = stat()
    guard lstat(path, &status) == 0 else {
      throw PocketTuneError(.bundleNotFound, "'\(folder.path)' is no bundle: it has no manifest.json")
    }
    guard isRegular(status) else {
      throw PocketTuneError(.ioFailed, "'\(path)' is not a regular file: a bundle holds files only")
    }
    let file = try PlainFile(path)
    guard file.size <= JSON.longest else { throw invalidManifest("it is larger than 16 MiB") }
    return try file.bytes(at: 0, count: file.size)
  }

  /// Neither the file nor a folder on the way to it may be a link.
  private static func checkSize(_ folder: URL, _ name: Name, _ bytes: Int) throws {
    var path = folder.path
    var status = stat()
    for part in name.text.split(separator: "/") {
      path += "/" + part
      guard lstat(path, &status) == 0 else { throw corrupt("'\(path)' is missing") }
      guard !isLink(status) else {
        throw PocketTuneError(.bundlePathInvalid, "'\(path)' is a link: a bundle holds files only")
      }
    }
    guard isRegular(status), Int(status.st_size) == bytes else {
      throw corrupt("'\(path)' is not a file of \(bytes) bytes")
    }
  }

  /// A program by its name. Throws `programMissing`.
  public func program(_ name: String) throws -> Program { try program(Name(name)) }

  func program(_ name: Name) throws -> Program {
    if let found = manifest.programs[name] { return found }
    let names = manifest.programs.keys.sorted().map(\.text).joined(separator: ", ")
    throw PocketTuneError(.programMissing, "the bundle has no program '\(name.short)': it has \(cut(names, 300))")
  }

  /// Where a verified file lies. Call `checkUnchanged` after opening it: what was verified is what is used.
  public func path(_ file: String) -> String { folder.appendingPathComponent(file).path }

  /// Throws `bundleCorrupt` when a file is no longer the one that was hashed.
  public func checkUnchanged(_ file: String) throws {
    try checkStamp(Name(file), try PlainFile(path(file)).stamp)
  }

  /// The same for a folder: throws `bundleCorrupt` when a file in it was changed, or was never part of the bundle.
  public func checkUnchanged(folder name: String) throws {
    let found = FileManager.default.enumerator(atPath: path(name))?.compactMap { $0 as? String } ?? []
    for file in found.map({ "\(name)/\($0)" }) {
      var status = stat()
      if lstat(path(file), &status) == 0 && status.st_mode & S_IFMT == S_IFDIR { continue }
      try checkUnchanged(file)
    }
    for file in verified.keys where file.text.hasPrefix(name + "/") { try checkUnchanged(file.text) }
  }

  func tensors(_ file: Name) throws -> TensorFile {
    let opened = try TensorFile(path(file.text))
    try checkStamp(file, opened.stamp)
    return opened
  }

  /// All bytes of a file that is read, not mapped.
  func bytes(_ file: Name) throws -> [UInt8] {
    let opened = try PlainFile(path(file.text))
    try checkStamp(file, opened.stamp)
    guard opened.size <= JSON.longest else { throw corrupt("'\(opened.path)' is larger than 16 MiB") }
    return try opened.bytes(at: 0, count: opened.size)
  }

  private func checkStamp(_ file: Name, _ found: FileStamp) throws {
    guard found == verified[file] else { throw corrupt("'\(path(file.text))' was changed while it was in use") }
  }

  /// Throws `configInvalid` unless the bundle is for that task.
  func requireTask(_ wanted: String) throws {
    guard task == wanted else {
      throw PocketTuneError(.configInvalid, "the bundle's task is '\(task)': this takes \(wanted) bundles")
    }
  }
}

private func corrupt(_ why: String) -> PocketTuneError {
  PocketTuneError(.bundleCorrupt, "\(why): fetch or export the bundle again")
}
