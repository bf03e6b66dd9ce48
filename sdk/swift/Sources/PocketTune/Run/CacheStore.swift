/// What programs hand to one another: one value for each cache and item, in the cache's stored type.
protocol CacheStore: AnyObject {
  func read(_ cache: Name, _ item: Int, into: UnsafeMutableRawBufferPointer) throws
  func write(_ cache: Name, _ item: Int, _ bytes: UnsafeRawBufferPointer) throws
}

/// Values in memory.
final class MemoryCache: CacheStore {
  private var values: [Name: [Int: [UInt8]]] = [:]

  func read(_ cache: Name, _ item: Int, into: UnsafeMutableRawBufferPointer) throws {
    guard let value = values[cache]?[item], value.count == into.count else {
      throw PocketTuneError(
        .bundleManifestInvalid,
        "no program of the bundle fills the cache '\(cache)' before it is needed: export the bundle again")
    }
    into.copyBytes(from: value)
  }

  func write(_ cache: Name, _ item: Int, _ bytes: UnsafeRawBufferPointer) throws {
    values[cache, default: [:]][item] = Array(bytes)
  }
}
