/// What runs programs. `PocketTuneExecuTorch` brings one.
public protocol Engine: Sendable {
  /// Its key in a program's `engines` and in the bundle's `tools`, like "executorch".
  var name: String { get }
  /// The runtime's version, to be compared with the bundle's; nil when the runtime does not tell.
  var version: String? { get }

  /// Loads a program of a bundle; its memory is freed with the session. Throws `programMissing`, `engineFailed`,
  /// `outOfMemory`, `tensorMismatch` when the file is not what the manifest describes, `bundleCorrupt` when it is no
  /// longer the verified one.
  func open(_ bundle: ModelBundle, _ program: Program) throws -> any Session
}

/// A loaded program. It is for one thread at a time.
public protocol Session: AnyObject {
  /// Runs once, on memory of the caller's, aligned to 16 bytes, in the order of the program's inputs and outputs.
  /// Throws `engineFailed`, `outOfMemory`.
  func run(inputs: [UnsafeRawBufferPointer], outputs: [UnsafeMutableRawBufferPointer]) throws
}

extension Engine {
  /// Throws `engineVersionMismatch` when the bundle was made for another release of the runtime.
  func checkVersion(of bundle: ModelBundle) throws {
    func release(_ version: String) -> Substring { version.prefix { $0 != "+" } }
    let wanted = bundle.manifest.tools[Name(name)]
    guard let version, wanted.map({ release($0) }) != release(version) else { return }
    throw PocketTuneError(
      .engineVersionMismatch,
      "the bundle was made for \(name) \(cut(wanted ?? "of an unknown version", 100)), this app has \(version): export it "
        + "with that version")
  }
}
