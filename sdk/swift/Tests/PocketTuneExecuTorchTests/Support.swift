import ExecuTorch
import Foundation
import PocketTuneExecuTorch
import Testing

@testable import PocketTune

let environment = ProcessInfo.processInfo.environment
/// What tools/fixtures.py made; without it there is nothing to compare with.
let fixtures = environment["POCKETTUNE_FIXTURES"].map { URL(fileURLWithPath: $0) }
let hasFixtures = Comment("POCKETTUNE_FIXTURES is not set: run the tests with make test-swift")

let engine = ExecuTorchEngine(version: runtimeVersion())

let good = DeviceState(
  charging: true, batteryPercent: 80, thermal: .nominal, idle: true, unmetered: true, powerSave: false,
  freeStorageBytes: 8 << 30, availableMemoryBytes: 4 << 30)

/// Says the same all the time.
struct Steady: Sensors {
  var state = good
  func read() -> DeviceState { state }
}

/// Says the same all the time, and takes half a second for one of its readings: the first is before the run, each other
/// before a step.
final class Lingering: Sensors, @unchecked Sendable {
  private let slow: Int
  private var reads = 0  // by one run's thread at a time
  private let (stream, continuation) = AsyncStream.makeStream(of: Void.self)

  init(at slow: Int) { self.slow = slow }

  /// Returns while it takes its time.
  func lingers() async { for await _ in stream { return } }

  func read() -> DeviceState {
    reads += 1
    if reads == slow {
      continuation.yield()
      Thread.sleep(forTimeInterval: 0.5)
    }
    return good
  }
}

/// Says the same all the time, and one of its readings ends when the test says so.
final class Gate: Sensors, @unchecked Sendable {
  private let closed: Int
  private var reads = 0  // by one run's thread at a time
  private let (stream, continuation) = AsyncStream.makeStream(of: Void.self)
  private let opened = DispatchSemaphore(value: 0)

  init(at closed: Int) { self.closed = closed }

  /// Returns while that reading waits.
  func isReached() async { for await _ in stream { return } }
  func open() { opened.signal() }

  func read() -> DeviceState {
    reads += 1
    if reads == closed {
      continuation.yield()
      opened.wait()
    }
    return good
  }
}

/// A folder of a test's own, removed with it.
final class TemporaryFolder {
  let url = FileManager.default.temporaryDirectory.appendingPathComponent("pockettune-\(UUID().uuidString)")

  init() throws { try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true) }
  deinit { try? FileManager.default.removeItem(at: url) }
}

func result(_ folder: URL) throws -> JSON {
  try JSON.parse([UInt8](Data(contentsOf: folder.appendingPathComponent("result.json"))))
}

extension JSON {
  subscript(_ name: Name) -> JSON { member(name) ?? .null }
  var list: [JSON] { array ?? [] }
}

/// A classification bundle, a store of its own, and what a run in it says.
struct Client {
  let folder: URL
  let bundle: ModelBundle
  let temporary: TemporaryFolder
  let store: Store
  let train: Examples
  let held: Examples

  init(quotaBytes: Int64? = nil) throws {
    folder = try #require(fixtures).appendingPathComponent("client")
    bundle = try ModelBundle.open(folder.appendingPathComponent("bundle"))
    temporary = try TemporaryFolder()
    store = try Store(root: temporary.url, quotaBytes: quotaBytes)
    train = try Examples(file: folder.appendingPathComponent("examples.safetensors"))
    held = try Examples(file: folder.appendingPathComponent("held.safetensors"))
  }

  /// As tools/fixtures.py set the native runner.
  var settings: TrainingSettings {
    var settings = TrainingSettings()
    (settings.steps, settings.seed, settings.checkpointEvery) = (100, 7, 10)
    settings.parameters = folder.appendingPathComponent("fleet/parameters.safetensors")
    return settings
  }

  func trainer(_ sensors: any Sensors = Steady()) throws -> Trainer {
    try Trainer(bundle: bundle, store: store, engine: engine, sensors: sensors)
  }

  func state(_ step: Int) -> URL {
    temporary.url.appendingPathComponent("runs/watch/work/state-\(String(format: "%08d", step)).safetensors")
  }

  func nativeState(_ folderName: String, _ step: Int) -> URL {
    folder.appendingPathComponent("\(folderName)/work/state-\(String(format: "%08d", step)).safetensors")
  }
}

func collect(_ stream: RunEvents) async throws -> [RunEvent] {
  var events: [RunEvent] = []
  for try await event in stream { events.append(event) }
  return events
}

extension [RunEvent] {
  var steps: [Int] {
    compactMap { if case .stepped(let step, _, _, _) = $0 { return step } else { return nil } }
  }
  var finished: RunResult? {
    if case .finished(let result) = last { return result }
    return nil
  }
}
