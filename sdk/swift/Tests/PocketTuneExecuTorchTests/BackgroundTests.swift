import Foundation
import PocketTuneExecuTorch
import Testing

@testable import PocketTune

/// Runs in time that a system lends, cut off and gone on.
@Suite(.enabled(if: fixtures != nil, hasFixtures), .serialized) struct BackgroundRuns {
  @Test func whatIsCutOffHasWrittenItsStateAndGoesOn() async throws {
    let client = try Client()
    let sensors = Lingering(at: 5)
    let (train, settings) = (client.train, client.settings)
    let trainer = try client.trainer(sensors)
    let slice = BackgroundSlice(store: client.store)
    let work = Task { await slice.collect { trainer.train("watch", train, settings: settings) } }
    await sensors.lingers()
    await slice.withdraw()
    // The system suspends the app now, and perhaps never wakes it.
    #expect(FileManager.default.fileExists(atPath: client.state(4).path))
    guard case .again = await work.value else { return #expect(Bool(false), "it does not go on") }
    let next = BackgroundSlice(store: client.store)
    guard case .over = await next.collect({ trainer.train("watch", train, settings: settings) }) else {
      return #expect(Bool(false), "it does not end")
    }
    #expect(try Data(contentsOf: client.state(100)) == Data(contentsOf: client.nativeState("whole", 100)))
  }

  @Test func timeThatEndsBeforeTheRunBegins() async throws {
    let client = try Client()
    let slice = BackgroundSlice(store: client.store)
    await slice.withdraw()
    guard case .again = await slice.collect({ try client.trainer().train("watch", client.train) }) else {
      return #expect(Bool(false), "it does not go on")
    }
    #expect(!FileManager.default.fileExists(atPath: client.temporary.url.appendingPathComponent("runs").path))
  }

  @Test func conditionsAreWaitedForAndFailuresAreNot() async throws {
    let client = try Client()
    var charged = good
    charged.charging = false
    let waits = try client.trainer(Steady(state: charged))
    let waited = await BackgroundSlice(store: client.store).collect { waits.train("watch", client.train) }
    guard case .again = waited else { return #expect(Bool(false), "it does not wait") }
    var settings = client.settings
    settings.learningRate = 0
    let fails = try client.trainer()
    let end = await BackgroundSlice(store: client.store).collect {
      fails.train("watch", client.train, settings: settings)
    }
    guard case .failed(let error) = end else { return #expect(Bool(false), "it does not fail") }
    #expect((error as? PocketTuneError)?.code == .adapterUnchanged)
    // The app's own pause ends it.
    let sensors = Lingering(at: 3)
    let paused = try client.trainer(sensors)
    let (train, store) = (client.train, client.store)
    let work = Task { await BackgroundSlice(store: store).collect { paused.train("other", train) } }
    await sensors.lingers()
    await paused.pause()
    guard case .over = await work.value else { return #expect(Bool(false), "it goes on though it was paused") }
  }
}
