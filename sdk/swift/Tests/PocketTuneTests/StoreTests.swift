import Foundation
import Testing

@testable import PocketTune

#if canImport(Glibc)
  import Glibc
#endif

@Suite struct Stores {
  private let temporary: TemporaryFolder
  private let bundle: ModelBundle
  private let initial: URL

  init() throws {
    temporary = try TemporaryFolder()
    bundle = try ModelBundle.open(vectors.appendingPathComponent("bundle_classification"))
    let pack = bundle.manifest.classification!.parameters
    initial = temporary.url.appendingPathComponent("initial.safetensors")
    try bundle.manifest.tensors[pack]!.writeViews(initial.path, try initialValue(bundle, pack), [:])
  }

  private func store(_ quotaBytes: Int64? = nil) throws -> Store {
    try Store(root: temporary.url.appendingPathComponent("store"), quotaBytes: quotaBytes)
  }

  @Test func adaptersAreListedCopiedAndDeleted() throws {
    let store = try store()
    #expect(try store.adapters().isEmpty)
    for name in ["b.2", "a"] { try store.importAdapter(name, from: initial, for: bundle) }
    let bytes = try Data(contentsOf: initial)
    #expect(try store.adapters().map(\.name) == ["a", "b.2"])
    #expect(try store.adapters().map(\.bytes) == [Int64(bytes.count), Int64(bytes.count)])
    let copy = temporary.url.appendingPathComponent("copy")
    try store.exportAdapter("a", to: copy)
    #expect(try Data(contentsOf: copy) == bytes)
    try store.deleteAdapter("a")
    #expect(code { try store.deleteAdapter("a") } == .ioFailed)
    #expect(try store.adapters().map(\.name) == ["b.2"])
    do {
      _ = try store.adapter("a")
      #expect(Bool(false), "it is there")
    } catch let error as PocketTuneError {
      #expect(error.code == .ioFailed && error.message.contains("b.2"))
    }
    try makeFolder(store.root.path + "/adapters/folder.safetensors")
    #expect(try store.adapters().map(\.name) == ["b.2"])
  }

  @Test(arguments: ["", ".a", "a/b", "..", "a b", "\u{e9}", String(repeating: "a", count: 65)])
  func namesThatAreNoneAreRefused(name: String) throws {
    let store = try store()
    #expect(code { try store.importAdapter(name, from: initial, for: bundle) } == .configInvalid)
    #expect(code { try store.deleteAdapter(name) } == .configInvalid)
  }

  @Test func anotherBundlesAdapterIsRefused() throws {
    let store = try store()
    let other = vectors.appendingPathComponent("every_dtype.safetensors")
    #expect(code { try store.importAdapter("a", from: other, for: bundle) } == .tensorMismatch)
    #expect(try store.adapters().isEmpty)
  }

  @Test func nothingPassesTheQuota() throws {
    let size = Int64(try Data(contentsOf: initial).count)
    let store = try store(2 * size)
    for name in ["a", "b", "b"] { try store.importAdapter(name, from: initial, for: bundle) }
    #expect(code { try store.importAdapter("c", from: initial, for: bundle) } == .quotaExceeded)
    #expect(try store.usedBytes() == 2 * size)
    #expect(code { _ = try self.store(-1) } == .configInvalid)
    try store.deleteAdapter("a")
    try store.importAdapter("c", from: initial, for: bundle)
  }

  @Test func bundlesAreListedOpenedAndDeleted() throws {
    let store = try store()
    #expect(try store.bundles().isEmpty)
    let id = bundle.bundleID
    #expect(code { _ = try store.openBundle(id) } == .bundleNotFound)
    #expect(code { try store.deleteBundle(id) } == .bundleNotFound)
    #expect(code { _ = try store.openBundle("../\(id.dropFirst(3))") } == .configInvalid)
    try makeFolder(store.bundlesFolder + "/.hidden")
    try FileManager.default.copyItem(
      at: bundle.folder, to: URL(fileURLWithPath: store.bundlesFolder).appendingPathComponent(id))
    #expect(try store.bundles() == [id])
    #expect(try store.openBundle(id).bundleID == id)
    try makeFolder(store.unfinishedBundlePath(id))
    try store.deleteBundle(id)
    #expect(try namesIn(store.bundlesFolder) == [".hidden"])
  }

  @Test func allPersonalDataGoesAndNothingElse() async throws {
    let store = try store()
    try store.importAdapter("a", from: initial, for: bundle)
    try makeFolder(try store.runFolder("run") + "/work")
    try writeFile(try store.runFolder("run") + "/work/cache.bin", Data(count: 100))
    try makeFolder(store.bundlesFolder)
    try writeFile(store.bundlesFolder + "/kept", Data(count: 1))
    let size = Int64(try Data(contentsOf: initial).count)
    let deleted = try await store.deletePersonalData()
    #expect(deleted == Store.Deleted(files: 3, bytes: size + 100))  // with the lock
    #expect(try namesIn(store.root.path) == ["bundles"])
    #expect(try await store.deletePersonalData() == Store.Deleted())
  }

  @Test func isRefusedWhileAnotherTrains() async throws {
    let store = try store()
    let work = try store.runFolder("run") + "/work"
    try makeFolder(work)
    let lock = try FolderLock(work)
    await #expect(throws: PocketTuneError.self) { try await store.deletePersonalData() }
    #expect(code { try store.discardRun("run") } == .ioFailed)
    withExtendedLifetime(lock) {}
    #expect(FileManager.default.fileExists(atPath: work))
  }

  /// A descriptor that is closed twice may be somebody else's the second time.
  @Test func aLockThatIsTakenClosesNothingElse() throws {
    let folder = try TemporaryFolder()
    let path = folder.url.path
    let held = try FolderLock(path)
    let ended = Flag()
    Thread.detachNewThread {
      for _ in 0..<100_000 { _ = try? FolderLock(path) }
      ended.set()
    }
    var lost = 0
    while !ended.isSet {
      let mine = open("/dev/null", O_RDONLY)
      if close(mine) != 0 { lost += 1 }
    }
    #expect(lost == 0)
    withExtendedLifetime(held) {}
  }

  @Test func aFolderThatCannotBeReadIsNotTakenForEmpty() throws {
    let store = try store()
    #expect(try store.adapters().isEmpty)
    // Where the folder of adapters should be there is a file: root reads folders whatever their rights.
    try writeFile(store.root.path + "/adapters", Data())
    #expect(code { _ = try store.adapters() } == .ioFailed)
  }

  @Test func areaAveragingKeepsMeansAndCropsTheMiddle() throws {
    // 4 x 2: the left and right columns are cut off.
    let bytes: [UInt8] = [9, 9, 9, 0, 0, 0, 100, 0, 200, 9, 9, 9, 9, 9, 9, 50, 0, 0, 150, 0, 200, 9, 9, 9]
    let image = try RGBImage(width: 4, height: 2, bytes: bytes)
    let pixel = Pixels(image, height: 1, width: 1)
    let wanted: [Float] = [75 / 127.5 - 1, -1, 100 / 127.5 - 1]
    #expect(pixel.values == wanted)
    let same = Pixels(try RGBImage(width: 2, height: 2, bytes: Array(0..<12)), height: 2, width: 2)
    let order: [Float] = [0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11]
    let unscaled = order.map { $0 / 127.5 - 1 }
    #expect(same.values == unscaled)
    let odd = Pixels(try RGBImage(width: 3, height: 3, bytes: [UInt8](repeating: 51, count: 27)), height: 2, width: 2)
    let gray: Float = 51 / 127.5 - 1
    #expect(odd.values.allSatisfy { abs($0 - gray) < 1e-6 })
    #expect(code { _ = try RGBImage(width: 2, height: 2, bytes: [0]) } == .photosUnreadable)
  }

  #if os(Linux)
    /// `fcntl`'s lock, which is the JVM's, and that of Swift and of the native runner are of two kinds.
    @Test func aFolderThatTheJVMHoldsIsTaken() throws {
      let folder = try TemporaryFolder()
      let descriptor = open(folder.path("lock"), O_RDWR | O_CREAT, 0o644)
      defer { close(descriptor) }
      var whole = Glibc.flock()
      whole.l_type = Int16(F_WRLCK)
      #expect(fcntl(descriptor, F_SETLK, &whole) == 0)
      #expect(code { _ = try FolderLock(folder.url.path) } == .ioFailed)
      whole.l_type = Int16(F_UNLCK)
      #expect(fcntl(descriptor, F_SETLK, &whole) == 0)
      let lock = try FolderLock(folder.url.path)
      whole.l_type = Int16(F_WRLCK)
      #expect(fcntl(descriptor, F_SETLK, &whole) != 0)
      withExtendedLifetime(lock) {}
    }
  #endif
}
