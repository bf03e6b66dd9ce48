import Foundation
import PocketTune
import Testing

/// What the guides' functions do, beside being compiled.
@Suite(.enabled(if: fixtures != nil, hasFixtures), .serialized) struct GuideRuns {
  @Test func gesturesAreLearntAndForgotten() async throws {
    let client = try Client()
    let trainer = try client.trainer()
    let accepted = try await learnGestures(trainer, client.train, heldBack: client.train)
    #expect(accepted == true)
    // Another day, other examples.
    _ = try await learnGestures(trainer, client.held, heldBack: client.held)
    #expect(try client.store.adapters().map(\.name) == ["gestures"])
    let text = try await forget(client.store)
    #expect(text.hasPrefix("1 files, "))  // the parameters
    #expect(try client.store.adapters().isEmpty)
  }

  @Test func aPhotoOfAnyShapeIsLearnt() async throws {
    let folder = try #require(fixtures).appendingPathComponent("starter/bundle")
    let temporary = try TemporaryFolder()
    let (bundle, store) = (try ModelBundle.open(folder), try Store(root: temporary.url))
    let personalizer = try watched(bundle, engine, store, Steady(state: unplugged))
    #expect(try mayStart(personalizer, photos: 2).hasPrefix("takes "))
    let photos = try (0..<2).map { photo in
      try RGBImage(
        width: 80, height: 100, bytes: (0..<(80 * 100 * 3)).map { UInt8(truncatingIfNeeded: $0 * (photo + 3)) })
    }
    var settings = PersonalizationSettings()
    settings.steps = 10
    let events = try await collect(personalizer.personalize("rex", photos, prompt: "a sks dog", settings: settings))
    #expect(events.steps == Array(1...10))
    let picture = try await personalizer.generate("a sks dog", seed: 1, steps: 4)
    #expect(picture.width == 64 && picture.height == 64 && Set(picture.bytes).count > 10)
  }

  private var unplugged: DeviceState {
    var state = good
    (state.charging, state.idle) = (false, false)
    return state
  }
}
