import Foundation
import Testing

@testable import PocketTune

/// Bundles that keep every rule of the manifest and make no sense: an error of ours, where Swift's own checks would end
/// the app.
@Suite struct HostileBundles {
  private let temporary: TemporaryFolder
  private let store: Store

  init() throws {
    temporary = try TemporaryFolder()
    store = try Store(root: temporary.url.appendingPathComponent("store"))
  }

  /// A bundle of the vectors with another manifest, whose identifier is right.
  private func edited(_ name: String, _ changes: [(String, String)]) throws -> ModelBundle {
    let folder = temporary.url.appendingPathComponent(name)
    var text = String(decoding: try usableManifest(name, in: folder), as: UTF8.self)
    for (old, new) in changes {
      try #require(text.contains(old), "\(old)")
      text = text.replacingOccurrences(of: old, with: new)
    }
    try writeManifest([UInt8](text.utf8), in: folder)
    return try ModelBundle.open(folder)
  }

  private func trainer(_ changes: [(String, String)], _ value: Float = 0) throws -> Trainer {
    try Trainer(
      bundle: try edited("bundle_classification", changes), store: store, engine: Constant(value: value),
      sensors: Ready())
  }

  private func personalizer(_ changes: [(String, String)]) throws -> Personalizer {
    try Personalizer(bundle: try edited("bundle", changes), store: store, engine: Constant(), sensors: Ready())
  }

  private func failure(_ body: () async throws -> Void) async -> ErrorCode? {
    do {
      try await body()
      return nil
    } catch { return (error as? PocketTuneError)?.code ?? .bug }
  }

  private func personalize(_ changes: [(String, String)]) async throws -> ErrorCode? {
    let personalizer = try personalizer(changes)
    let photo = try RGBImage(width: 1, height: 1, bytes: [1, 2, 3])
    return await failure {
      for try await _ in personalizer.personalize("a", [photo], prompt: "") {}
    }
  }

  @Test func thatPredictTooFewNumbers() async throws {
    let logits = "\"name\":\"logits\",\"shape\":[4,3]"
    let trainer = try trainer([(logits, "\"name\":\"logits\",\"shape\":[1]")])
    #expect(await failure { _ = try await trainer.predict([1, 2, 3, 4]) } == .bundleManifestInvalid)
  }

  @Test func thatCountMoreRightAnswersThanExamples() async throws {
    let trainer = try trainer([], 1e30)
    let examples = Examples(inputs: [1, 2], shape: [2], labels: [0])
    #expect(await failure { _ = try await trainer.evaluate(examples) } == .bundleManifestInvalid)
  }

  @Test func whoseExamplesAreLargerThanAnything() async throws {
    let trainer = try trainer([("\"input_shape\":[2]", "\"input_shape\":[1073741824,1073741824,4]")])
    // Four of them have 2^64 numbers.
    let examples = Examples(inputs: [], shape: [1 << 30, 1 << 30, 4], labels: [0, 0, 0, 0])
    #expect(await failure { _ = try await trainer.evaluate(examples) } == .tensorMismatch)
  }

  @Test func whosePicturesAreLargerThanAnything() async throws {
    let size = "\"image\":{\"height\":2147483647,\"width\":2147483647}"
    #expect(try await personalize([("\"image\":{\"height\":8,\"width\":8}", size)]) == .outOfMemory)
  }

  @Test func thatPrepareWhatNothingCounts() async throws {
    // A program reads latents, which are of no photo, before they are there.
    let found = try await personalize([
      ("\"scope\":\"photo\"", "\"scope\":\"picture\""),
      ("[\"encode_text\",\"encode_image\",\"prepare\"]", "[\"encode_text\",\"prepare\",\"encode_image\"]"),
    ])
    #expect(found == .bundleManifestInvalid)
  }

  @Test func thatFillCachesWhileTheyTrain() async throws {
    let found = try await personalize([
      (
        "\"binding\":\"metric.gradient_norm\",\"dtype\":\"float32\",\"name\":\"gradient_norm\",\"shape\":[1]",
        "\"binding\":\"cache.latents\",\"dtype\":\"float32\",\"name\":\"latents\",\"shape\":[1,4,1,1]"
      )
    ])
    #expect(found == .bundleManifestInvalid)
  }

  @Test func thatTakeEndlessStepsEndWhenTheyAreCanceled() async throws {
    let personalizer = try personalizer([
      ("\"steps\":5,", "\"steps\":2147483647,"), ("\"train_timesteps\":1000", "\"train_timesteps\":2147483647"),
    ])
    let before = ProcessMemory.peakResident()
    let task = Task { try await personalizer.generate("") }
    try await Task.sleep(for: .milliseconds(50))
    task.cancel()
    await #expect(throws: CancellationError.self) { _ = try await task.value }
    #expect(ProcessMemory.peakResident() - before < 64 << 20)
  }

  @Test func whoseTimesNobodyMeasured() throws {
    let arena = "\"arena_bytes\":4096,"
    let measured = "\"measured\":{\"median_seconds\":1e300,\"peak_pss_bytes\":-1},"
    let found = try personalizer([(arena, arena + measured)]).preflight(photos: 1)
    guard case .go(let peak, nil) = found else { return #expect(Bool(false), "\(found)") }
    #expect(peak > 4096)
  }

  @Test func areComparedWithTheVersionOfTheirOwnRuntime() throws {
    let bundle = try edited("bundle_classification", [("\"tools\":{", "\"tools\":{\"another\":\"2.0.0\",")])
    for (name, version, fits) in [
      ("another", "2.0.0+cpu", true), ("another", "1.5.1", false), ("executorch", "1.5.1", true),
      ("third", "1.0", false),
    ] {
      let engine = Constant(name: name, version: version)
      do {
        _ = try Trainer(bundle: bundle, store: store, engine: engine, sensors: Ready())
        #expect(fits)
      } catch let error as PocketTuneError {
        #expect(!fits && error.code == .engineVersionMismatch && error.message.contains("\(name) "))
      }
    }
  }

  @Test func areNotWorkedWithUnderConditionsThatNeverHold() throws {
    let bundle = try edited("bundle_classification", [])
    var never = Conditions.proceed
    never.minimumBatteryPercent = 101
    do {
      _ = try Trainer(bundle: bundle, store: store, engine: Constant(), sensors: Ready(), proceed: never)
      #expect(Bool(false), "they were taken")
    } catch let error as PocketTuneError {
      #expect(error.code == .configInvalid && error.message == "minimumBatteryPercent is 101: it must be 0 to 100")
    }
  }

  @Test func whoseNamesAreEndless() throws {
    let name = "a" + String(repeating: "\u{301}", count: 300_000)
    let list = "\"preparation\":["
    do {
      _ = try edited("bundle", [(list, list + "\"\(name)\",")])
      #expect(Bool(false), "it was taken")
    } catch let error as PocketTuneError {
      #expect(error.code == .bundleManifestInvalid && error.message.utf8.count < 1000)
    }
  }
}
