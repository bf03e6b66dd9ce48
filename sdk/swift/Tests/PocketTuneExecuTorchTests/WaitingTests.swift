import Foundation
import Testing

@testable import PocketTune

/// What waits while a run holds the programs: a gate in its sensors keeps it in its second step.
@Suite(.enabled(if: fixtures != nil, hasFixtures), .serialized, .timeLimit(.minutes(2))) struct Waiting {
  private let client: Client
  private let gate = Gate(at: 3)

  init() throws { client = try Client() }

  private func atWork() async throws -> Task<[RunEvent], any Error> {
    let (trainer, train, settings) = (try client.trainer(gate), client.train, client.settings)
    let run = Task { try await collect(trainer.train("watch", train, settings: settings)) }
    await gate.isReached()
    return run
  }

  @Test func isLetGoAtOnceWhenItIsCanceledOrPaused() async throws {
    let run = try await atWork()
    let (trainer, train, held) = (try client.trainer(), client.train, client.held)
    let evaluation = Task { try await trainer.evaluate(held) }
    let canceled = Task { try await collect(trainer.train("other", train)) }
    let paused = Task { try await collect(trainer.train("third", train)) }
    try await Task.sleep(for: .milliseconds(100))
    evaluation.cancel()
    await #expect(throws: CancellationError.self) { _ = try await evaluation.value }
    canceled.cancel()
    #expect(try await canceled.value == [])
    await trainer.pause()
    #expect(try await paused.value == [.stopped(step: 0, failing: [])])
    gate.open()
    #expect(try await run.value.finished != nil)
  }

  @Test func whoIsCanceledBeforeItBeginsBeginsNothing() async throws {
    let (trainer, train) = (try client.trainer(), client.train)
    let task = Task {
      withUnsafeCurrentTask { $0?.cancel() }
      return try await collect(trainer.train("watch", train))
    }
    #expect(try await task.value == [])
    #expect(try namesIn(client.temporary.url.path) == [])
  }

  @Test func nothingBeginsWhilePersonalDataIsDeleted() async throws {
    let run = try await atWork()
    let store = client.store
    let deletion = Task { try await store.deletePersonalData() }
    try await Task.sleep(for: .milliseconds(100))
    do {
      _ = try await collect(try client.trainer().train("other", client.train))
      #expect(Bool(false), "it began")
    } catch let error as PocketTuneError {
      #expect(error.code == .ioFailed && error.message.contains("deleted"))
    }
    gate.open()
    #expect(try await deletion.value.files == 2)  // a state and the lock
    #expect(try await run.value.last == .stopped(step: 2, failing: []))
    #expect(try namesIn(store.root.path) == [])
  }

  @Test func whoPausedMayCancelAndStillHearsTheEnd() async throws {
    let (sensors, train, settings) = (Lingering(at: 3), client.train, client.settings)
    let trainer = try client.trainer(sensors)
    let run = Task { try await collect(trainer.train("watch", train, settings: settings)) }
    await sensors.lingers()
    await trainer.pause()
    run.cancel()
    #expect(try await run.value.last == .stopped(step: 2, failing: []))
  }
}
