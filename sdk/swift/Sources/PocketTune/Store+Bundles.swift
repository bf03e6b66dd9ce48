import Foundation

extension Store {
  /// Identifiers of the bundles that are kept. Throws `ioFailed`.
  public func bundles() throws -> [String] { try namesIn(bundlesFolder).filter { isHexDigest($0.utf8) } }

  /// Opens a kept bundle and verifies every byte of it: call it off the main thread. Throws what `ModelBundle.open`
  /// throws, `bundleNotFound` when it is not kept, `configInvalid` for what is no identifier.
  public func openBundle(_ id: String, key: (any SignatureVerifier)? = nil) throws -> ModelBundle {
    try ModelBundle.open(URL(fileURLWithPath: try bundlePath(id)), key: key)
  }

  /// Removes a kept bundle, and what a download of it has left; files that other bundles share stay. Throws
  /// `bundleNotFound` when there is nothing of it, `ioFailed`.
  public func deleteBundle(_ id: String) throws {
    let found = [try bundlePath(id), unfinishedBundlePath(id)].filter(isThere)
    guard !found.isEmpty else {
      throw PocketTuneError(.bundleNotFound, "the store keeps no bundle \(id): list the bundles to see which there are")
    }
    for folder in found { try removeTree(folder) }
    try syncFolder(bundlesFolder)
  }

  private func bundlePath(_ id: String) throws -> String {
    guard isHexDigest(id.utf8) else {
      throw PocketTuneError(
        .configInvalid, "'\(cut(id, 100))' is no bundle's identifier: it has 64 lower-case hexadecimal digits")
    }
    return "\(bundlesFolder)/\(id)"
  }

  /// Where a bundle is put together.
  func unfinishedBundlePath(_ id: String) -> String { "\(bundlesFolder)/.\(id)\(temporaryEnding)" }
}
