/// What runs programs. `PocketTuneExecuTorch` brings one.
public protocol Engine: Sendable {
  /// Its key in a program's `engines`, like "executorch".
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
    guard let version, release(version) != release(bundle.executorchVersion) else { return }
    let wanted = bundle.executorchVersion.isEmpty ? "an unknown version" : bundle.executorchVersion
    throw PocketTuneError(
      .engineVersionMismatch,
      "the bundle was made for executorch \(wanted), this app has \(version): export it with that version")
  }
}
