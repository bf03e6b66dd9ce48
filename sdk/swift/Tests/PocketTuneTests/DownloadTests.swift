import Foundation
import PocketTuneOpenSSL
import Testing

@testable import PocketTune

private struct Network: Sensors {
  var unmetered: Bool? = true
  func read() -> DeviceState { DeviceState(unmetered: unmetered) }
}

/// A network that is unmetered for so many looks at it.
private final class LeavesHome: Sensors, @unchecked Sendable {
  private let lock = NSLock()
  private var looks: Int

  init(after looks: Int) { self.looks = looks }

  func read() -> DeviceState {
    lock.withLock {
      looks -= 1
      return DeviceState(unmetered: looks >= 0)
    }
  }
}

/// A bundle of the vectors, by its hashes.
private struct Source: Sendable {
  let manifest: Data
  let files: [String: Data]

  init(_ name: String = "bundle") throws {
    let folder = vectors.appendingPathComponent(name)
    manifest = try Data(contentsOf: folder.appendingPathComponent("manifest.json"))
    var files: [String: Data] = [:]
    for (name, entry) in try Manifest(bytes: [UInt8](manifest)).files {
      files[entry.sha256] = try Data(contentsOf: folder.appendingPathComponent(name.text))
    }
    self.files = files
  }

  func answer(_ request: LoopbackServer.Request) -> LoopbackServer.Answer {
    if request.path == "/app/bundle/manifest.json" { return LoopbackServer.Answer(body: manifest) }
    guard let body = files[String(request.path.dropFirst("/app/bundle/files/".count))] else {
      return LoopbackServer.Answer(status: 404)
    }
    guard let from = request.from else { return LoopbackServer.Answer(body: body) }
    return LoopbackServer.Answer(status: 206, body: body.dropFirst(from))
  }
}

@Suite(.serialized) struct Downloads {
  private let temporary: TemporaryFolder
  private let store: Store
  private let source: Source

  init() throws {
    temporary = try TemporaryFolder()
    store = try Store(root: temporary.url)
    source = try Source()
  }

  private func failure(_ downloader: BundleDownloader) async -> ErrorCode? {
    do {
      _ = try await downloader.download()
      return nil
    } catch { return (error as? PocketTuneError)?.code ?? .bug }
  }

  @Test func fetchesEachFileOnceAndOpensTheBundle() async throws {
    let server = try LoopbackServer { [source] in source.answer($0) }
    defer { server.stop() }
    let downloader = BundleDownloader(store: store, base: server.base, sensors: Network())
    guard case .finished(let bundle) = try await downloader.download() else { return #expect(Bool(false)) }
    #expect(bundle.folder.path == store.bundlesFolder + "/" + bundle.bundleID)
    #expect(server.requests.count == 1 + source.files.count)
    #expect(try namesIn(store.bundlesFolder) == [bundle.bundleID])
    // Again: the manifest alone.
    _ = try await downloader.download()
    #expect(server.requests.count == 2 + source.files.count)
  }

  @Test func goesOnWhereItWasCutOff() async throws {
    let largest = source.files.max { $0.value.count < $1.value.count }!
    let server = try LoopbackServer { [source] request in
      var answer = source.answer(request)
      if request.path.hasSuffix(largest.key) && request.from == nil { answer.breaksAfter = largest.value.count / 2 }
      return answer
    }
    defer { server.stop() }
    let downloader = BundleDownloader(store: store, base: server.base, sensors: Network())
    #expect(await failure(downloader) == .downloadFailed)
    guard case .finished = try await downloader.download() else { return #expect(Bool(false)) }
    let asked = server.requests.filter { $0.path.hasSuffix(largest.key) }
    #expect(asked.count == 2 && asked[1].from ?? 0 > 0)
  }

  @Test func aServerWithoutRangesIsFineToo() async throws {
    let largest = source.files.max { $0.value.count < $1.value.count }!
    let server = try LoopbackServer { [source] request in
      var answer = source.answer(LoopbackServer.Request(path: request.path, from: nil))
      if request.path.hasSuffix(largest.key) && request.from == nil { answer.breaksAfter = largest.value.count / 2 }
      return answer
    }
    defer { server.stop() }
    let downloader = BundleDownloader(store: store, base: server.base, sensors: Network())
    #expect(await failure(downloader) == .downloadFailed)
    guard case .finished = try await downloader.download() else { return #expect(Bool(false)) }
  }

  @Test func linksWhatAnotherBundleHas() async throws {
    let server = try LoopbackServer { [source] in source.answer($0) }
    defer { server.stop() }
    // The same files under another identifier.
    let other = try Source("bundle_tolerant")
    let second = try LoopbackServer { other.answer($0) }
    defer { second.stop() }
    _ = try await BundleDownloader(store: store, base: server.base, sensors: Network()).download()
    _ = try await BundleDownloader(store: store, base: second.base, sensors: Network()).download()
    let fetched = Set(second.requests.map { String($0.path.dropFirst("/app/bundle/files/".count)) })
    #expect(fetched.isDisjoint(with: source.files.keys))
    #expect(try namesIn(store.bundlesFolder).count == 2)
  }

  @Test func whatBundlesShareCountsOnce() async throws {
    let server = try LoopbackServer { [source] in source.answer($0) }
    defer { server.stop() }
    let other = try Source("bundle_tolerant")
    let second = try LoopbackServer { other.answer($0) }
    defer { second.stop() }
    _ = try await BundleDownloader(store: store, base: server.base, sensors: Network()).download()
    let more = other.files.filter { source.files[$0.key] == nil }.values.reduce(other.manifest.count) { $0 + $1.count }
    let all = try store.usedBytes() + Int64(more)
    let tight = try Store(root: temporary.url, quotaBytes: all - 1)
    #expect(await failure(BundleDownloader(store: tight, base: second.base, sensors: Network())) == .quotaExceeded)
    let exact = try Store(root: temporary.url, quotaBytes: all)
    guard case .finished = try await BundleDownloader(store: exact, base: second.base, sensors: Network()).download()
    else { return #expect(Bool(false)) }
    #expect(try exact.usedBytes() == all)
    #expect(try exact.bundles().count == 2)
  }

  @Test func aBundleThatBreaksARuleNeverBearsItsName() async throws {
    let hostile = try Source("hostile/bundles/tensors_shape")
    let server = try LoopbackServer { hostile.answer($0) }
    defer { server.stop() }
    #expect(await failure(BundleDownloader(store: store, base: server.base, sensors: Network())) == .tensorMismatch)
    #expect(try store.bundles().isEmpty)
    // What came of it can be removed.
    try store.deleteBundle(try Manifest(bytes: [UInt8](hostile.manifest)).bundleID)
    #expect(try store.usedBytes() == 0)
  }

  @Test func tellsHowFarAFileIs() async throws {
    let largest = source.files.max { $0.value.count < $1.value.count }!.value.count
    let server = try LoopbackServer { [source] request in
      var answer = source.answer(request)
      answer.pause = answer.body.count == largest ? 0.1 : 0
      return answer
    }
    defer { server.stop() }
    let (stream, continuation) = AsyncStream.makeStream(of: BundleDownloader.Progress.self)
    _ = try await BundleDownloader(store: store, base: server.base, sensors: Network()).download {
      continuation.yield($0)
    }
    continuation.finish()
    var told: [BundleDownloader.Progress] = []
    for await progress in stream { told.append(progress) }
    #expect(zip(told, told.dropFirst()).allSatisfy { $0.bytes <= $1.bytes })
    // Half of the largest was there for a while.
    let steps = zip(told, told.dropFirst()).map { $1.bytes - $0.bytes }
    #expect(steps.allSatisfy { $0 < largest })
    let files = source.files.values.reduce(0) { $0 + $1.count }
    #expect(told.last?.bytes == Int64(files) && told.last?.totalBytes == Int64(files + source.manifest.count))
  }

  @Test func refusesOtherBytesSizesStatusesAndSilence() async throws {
    let largest = source.files.max { $0.value.count < $1.value.count }!
    let damages: [@Sendable (inout LoopbackServer.Answer) -> Void] = [
      { $0.body = Data($0.body.dropLast()) + [$0.body.last! ^ 1] },
      { $0.body += Data(count: 1) },
      { $0.body = $0.body.dropLast() },
      { $0.status = 500 },
      { $0.status = 206 },
      { $0.body = Data() },
    ]
    for damage in damages {
      let server = try LoopbackServer { [source] request in
        var answer = source.answer(request)
        if request.path.hasSuffix(largest.key) { damage(&answer) }
        return answer
      }
      defer { server.stop() }
      let folder = try TemporaryFolder()
      let store = try Store(root: folder.url)
      let downloader = BundleDownloader(store: store, base: server.base, sensors: Network())
      #expect(await failure(downloader) == .downloadFailed)
      #expect(try namesIn(store.bundlesFolder).allSatisfy { $0.hasPrefix(".") })
    }
    let nobody = BundleDownloader(store: store, base: URL(string: "http://127.0.0.1:9/x")!, sensors: Network())
    #expect(await failure(nobody) == .downloadFailed)
    let endless = try LoopbackServer { _ in LoopbackServer.Answer(body: Data(count: JSON.longest + 1)) }
    defer { endless.stop() }
    #expect(await failure(BundleDownloader(store: store, base: endless.base, sensors: Network())) == .downloadFailed)
  }

  @Test func asksForItsNetworkKeyAndRoom() async throws {
    let server = try LoopbackServer { [source] in source.answer($0) }
    defer { server.stop() }
    for (unmetered, reason) in [(false, FailingCondition.Reason.unmet), (nil, .unknown)] {
      let downloader = BundleDownloader(store: store, base: server.base, sensors: Network(unmetered: unmetered))
      guard case .stopped(let failing) = try await downloader.download() else { return #expect(Bool(false)) }
      #expect(failing == [FailingCondition(.unmetered, reason)])
    }
    #expect(server.requests.isEmpty)
    let keys = try json("spec/vectors/sdk/signatures.json")["messages"].list
    let key = try OpenSSLKey(der: [UInt8](Data(base64Encoded: keys[0]["key"].text!)!))
    let strict = BundleDownloader(store: store, base: server.base, key: key, sensors: Network())
    #expect(await failure(strict) == .bundleSignatureInvalid)
    let small = try Store(root: temporary.url, quotaBytes: 1000)
    #expect(await failure(BundleDownloader(store: small, base: server.base, sensors: Network())) == .quotaExceeded)
    #expect(try namesIn(store.bundlesFolder).isEmpty)
  }

  @Test func stopsWhereTheNetworkBecomesMeteredAndGoesOnThere() async throws {
    let largest = source.files.max { $0.value.count < $1.value.count }!
    let server = try LoopbackServer { [source] request in
      var answer = source.answer(request)
      if request.path.hasSuffix(largest.key) { answer.pause = 0.3 }
      return answer
    }
    defer { server.stop() }
    var stops = 0
    // At every look in turn: before the manifest, before a file, within one.
    for looks in 0... {
      guard looks < 100 else { return #expect(Bool(false), "it never ends") }
      let downloader = BundleDownloader(store: store, base: server.base, sensors: LeavesHome(after: looks))
      let outcome = try await downloader.download()
      guard case .stopped(let failing) = outcome else { break }
      #expect(failing == [FailingCondition(.unmetered, .unmet)])
      stops += 1
    }
    #expect(stops >= source.files.count)
    // The largest came in two pieces, and what came of it was not fetched again.
    let fetched = server.requests.filter { $0.path.hasSuffix(largest.key) }
    #expect(fetched.contains { $0.from != nil })
  }

  @Test func aCanceledDownloadStopsAtOnce() async throws {
    let server = try LoopbackServer { [source] request in
      var answer = source.answer(request)
      answer.pause = 2
      return answer
    }
    defer { server.stop() }
    let downloader = BundleDownloader(store: store, base: server.base, sensors: Network())
    let task = Task { try await downloader.download() }
    try await Task.sleep(for: .milliseconds(200))
    let clock = SystemClock()
    task.cancel()
    await #expect(throws: CancellationError.self) { _ = try await task.value }
    #expect(clock.seconds() < 1.5)
  }

  @Test(.timeLimit(.minutes(1))) func aDownloadThatIsCanceledBeforeItBeginsEnds() async throws {
    let server = try LoopbackServer { [source] in source.answer($0) }
    defer { server.stop() }
    let downloader = BundleDownloader(store: store, base: server.base, sensors: Network())
    let task = Task {
      withUnsafeCurrentTask { $0?.cancel() }
      return try await downloader.download()
    }
    await #expect(throws: CancellationError.self) { _ = try await task.value }
    #expect(server.requests.isEmpty)
  }
}
