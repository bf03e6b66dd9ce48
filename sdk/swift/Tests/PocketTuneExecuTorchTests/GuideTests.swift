import Foundation
import PocketTune
import PocketTuneExecuTorch
import Testing

// The functions here are the guide in README.md, word for word; a test compares them.

func learnGesture(
  _ folder: URL, _ support: URL, _ inputs: [Float], _ labels: [Int], _ held: Examples, _ sensors: any Sensors
) async throws -> [Float] {
  let bundle = try ModelBundle.open(folder)
  let store = try Store(root: support, quotaBytes: 200 << 20)
  let trainer = try Trainer(bundle: bundle, store: store, engine: ExecuTorchEngine(), sensors: sensors)
  let examples = Examples(inputs: inputs, shape: bundle.inputShape!, labels: labels)
  for try await event in trainer.train("gestures", examples, validation: held) {
    switch event {
    case .stepped(let step, let total, let loss, _): print("step \(step) of \(total), loss \(loss)")
    case .stopped(_, let failing): print("goes on later: \(failing)")
    case .finished(let result): print(result.accepted ? "learnt" : "it was better before")
    default: break
    }
  }
  let logits = try await trainer.predict(held.inputs, parameters: store.adapter("gestures"))
  return logits[0]
}

func personalize(
  _ folder: URL, _ support: URL, _ photos: [RGBImage], _ sensors: any Sensors, _ settings: PersonalizationSettings
) async throws -> RGBImage {
  let bundle = try ModelBundle.open(folder)
  let store = try Store(root: support, quotaBytes: 200 << 20)
  let personalizer = try Personalizer(bundle: bundle, store: store, engine: ExecuTorchEngine(), sensors: sensors)
  guard case .go = try personalizer.preflight(photos: photos.count, settings: settings) else {
    throw CancellationError()
  }
  for try await event in personalizer.personalize("bear", photos, prompt: "a sks bear", settings: settings) {
    if case .prepared(let program, let done, let total) = event { print("\(program): \(done) of \(total)") }
    if case .stepped(let step, let total, let loss, _) = event { print("step \(step) of \(total), loss \(loss)") }
  }
  return try await personalizer.generate("a sks bear, flat style", adapter: store.adapter("bear"), seed: 1, steps: 4)
}

func evenings() -> Conditions {
  var evenings = Conditions.start
  evenings.idle = false
  evenings.minimumBatteryPercent = 50
  return evenings
}

@Suite(.enabled(if: fixtures != nil, hasFixtures), .serialized) struct Guide {
  private let temporary: TemporaryFolder

  init() throws { temporary = try TemporaryFolder() }

  @Test func aGestureIsLearnt() async throws {
    let client = try Client()
    let logits = try await learnGesture(
      client.bundle.folder, temporary.url, client.train.inputs, client.train.labels, client.train, Steady())
    #expect(logits.count == 7)
  }

  @Test func aBearIsLearnt() async throws {
    let folder = try #require(fixtures).appendingPathComponent("starter/bundle")
    let photos = try (0..<2).map { photo in
      try RGBImage(
        width: 80, height: 64, bytes: (0..<(80 * 64 * 3)).map { UInt8(truncatingIfNeeded: $0 * (photo + 3)) })
    }
    var settings = PersonalizationSettings()
    settings.steps = 10
    let picture = try await personalize(folder, temporary.url, photos, Steady(), settings)
    #expect(picture.width == 64 && picture.height == 64 && Set(picture.bytes).count > 10)
  }
}
