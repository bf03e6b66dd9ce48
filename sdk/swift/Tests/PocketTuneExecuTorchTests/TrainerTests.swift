import Foundation
import PocketTuneExecuTorch
import Testing

@testable import PocketTune

@Suite(.enabled(if: fixtures != nil, hasFixtures), .serialized) struct Training {
  @Test func aHundredStepsAreTheNativeRunnersByteForByte() async throws {
    let client = try Client()
    let trainer = try client.trainer()
    let events = try await collect(
      trainer.train("watch", client.train, settings: client.settings, validation: client.held))
    #expect(events.steps == Array(1...100))
    let result = try #require(events.finished)
    let native = try PocketTuneExecuTorchTests.result(client.folder.appendingPathComponent("whole"))
    #expect(result.losses.map(shortestText) == native["losses"].list.map(\.line))
    #expect(shortestText(result.change) == native["change"].line)
    #expect(shortestText(result.lossLast) == native["loss_last"].line)
    #expect(try Data(contentsOf: client.state(100)) == Data(contentsOf: client.nativeState("whole", 100)))
    #expect(
      try Data(contentsOf: client.store.adapter("watch"))
        == Data(contentsOf: client.folder.appendingPathComponent("whole/parameters.safetensors")))
    let written = try PocketTuneExecuTorchTests.result(client.temporary.url.appendingPathComponent("runs/watch"))
    for member in ["losses", "loss_first", "loss_last", "change", "examples", "steps", "resumed_from"] as [Name] {
      #expect(written[member].line == native[member].line)
    }
    #expect(written["accepted"].line == "true")
  }

  @Test func thePersonIsKnownBetterAfterwards() async throws {
    let client = try Client()
    let trainer = try client.trainer()
    let result = try #require(
      try await collect(trainer.train("watch", client.train, settings: client.settings, validation: client.held))
        .finished)
    let before = try await trainer.evaluate(client.held, parameters: client.settings.parameters)
    let after = try await trainer.evaluate(client.held, parameters: client.store.adapter("watch"))
    let scores = try JSON.parse([UInt8](Data(contentsOf: client.folder.appendingPathComponent("scores.json"))))
    #expect(shortestText(before.loss) == shortestText(scores["before"]["loss"].number!))
    #expect(shortestText(after.loss) == shortestText(scores["after"]["loss"].number!))
    #expect(after.accuracy == scores["after"]["accuracy"].number!)
    #expect(after.accuracy > before.accuracy)
    #expect(result.evaluationBefore == before.loss && result.evaluationAfter == after.loss)
    print(
      "held-out accuracy of one person: \(before.accuracy) before, \(after.accuracy) after, \(client.held.count) examples"
    )
  }

  @Test func goesOnWhereTheNativeRunnerWasStopped() async throws {
    let client = try Client()
    let runs = client.temporary.url.appendingPathComponent("runs")
    try FileManager.default.createDirectory(at: runs, withIntermediateDirectories: true)
    try FileManager.default.copyItem(
      at: client.folder.appendingPathComponent("stopped"), to: runs.appendingPathComponent("watch"))
    let events = try await collect(
      try client.trainer().train("watch", client.train, settings: client.settings, validation: client.held))
    guard case .resumed(let step) = events.first else { return #expect(Bool(false), "it began anew") }
    #expect(step >= 37 && step < 100)
    #expect(events.steps == Array((step + 1)...100))
    #expect(try Data(contentsOf: client.state(100)) == Data(contentsOf: client.nativeState("whole", 100)))
  }

  @Test func pausedAndCanceledRunsGoOn() async throws {
    let client = try Client()
    let trainer = try client.trainer()
    let (train, held, settings) = (client.train, client.held, client.settings)
    let stream = { @Sendable in trainer.train("watch", train, settings: settings, validation: held) }
    var last: RunEvent?
    for try await event in stream() {
      last = event
      if case .stepped(3, _, _, _) = event { await trainer.pause() }
    }
    guard case .stopped(let first, []) = last else { return #expect(Bool(false), "\(String(describing: last))") }
    #expect(first >= 3)
    #expect(FileManager.default.fileExists(atPath: client.state(first).path))
    // A collector that leaves saves as well.
    for try await event in stream() {
      if case .stepped(let step, _, _, _) = event, step > first + 2 { break }
    }
    // So does one whose task is canceled.
    let task = Task {
      for try await event in stream() {
        if case .stepped = event { withUnsafeCurrentTask { $0?.cancel() } }
      }
    }
    _ = try? await task.value
    let events = try await collect(stream())
    guard case .resumed(let second) = events.first else { return #expect(Bool(false), "it began anew") }
    #expect(second > first)
    #expect(try Data(contentsOf: client.state(100)) == Data(contentsOf: client.nativeState("whole", 100)))
  }

  @Test func aCanceledTaskEndsWhenItsStateIsWritten() async throws {
    let client = try Client()
    let sensors = Lingering(at: 5)
    let trainer = try client.trainer(sensors)
    let (train, settings) = (client.train, client.settings)
    let task = Task { try await collect(trainer.train("watch", train, settings: settings)) }
    await sensors.lingers()
    task.cancel()
    #expect(try await task.value.steps == [1, 2, 3])
    #expect(FileManager.default.fileExists(atPath: client.state(4).path))
    // Its lock is free.
    try await trainer.discard("watch")
  }

  @Test func whoIsCanceledBetweenTwoEventsWaitsForTheStateToo() async throws {
    let client = try Client()
    let trainer = try client.trainer()
    let (train, settings) = (client.train, client.settings)
    for _ in 0..<20 {
      let task = Task {
        for try await event in trainer.train("watch", train, settings: settings) {
          if case .stepped = event { withUnsafeCurrentTask { $0?.cancel() } }
        }
      }
      try await task.value
      // Nothing holds its lock any more.
      try await trainer.discard("watch")
    }
  }

  @Test func eachIterationIsARun() async throws {
    let client = try Client()
    let trainer = try client.trainer()
    let run = trainer.train("watch", client.train, settings: client.settings, validation: client.held)
    for try await event in run {
      if case .stepped(2, _, _, _) = event { await trainer.pause() }
    }
    let events = try await collect(run)
    guard case .resumed = events.first else { return #expect(Bool(false), "it began anew") }
    #expect(events.finished != nil)
  }

  @Test func pauseEndsTheRunAtWorkAndTheOneThatWaits() async throws {
    let client = try Client()
    let sensors = Lingering(at: 5)
    let trainer = try client.trainer(sensors)
    let (train, settings) = (client.train, client.settings)
    let first = Task { try await collect(trainer.train("watch", train, settings: settings)) }
    await sensors.lingers()
    let second = Task { try await collect(trainer.train("other", train, settings: settings)) }
    try await Task.sleep(for: .milliseconds(100))
    await trainer.pause()
    #expect(try await first.value.last == .stopped(step: 4, failing: []))
    #expect(try await second.value.last == .stopped(step: 0, failing: []))
  }

  @Test func whatIsCanceledIsNotComputedToItsEnd() async throws {
    let client = try Client()
    let trainer = try client.trainer()
    let held = client.held
    let task = Task {
      withUnsafeCurrentTask { $0?.cancel() }
      return try await trainer.evaluate(held)
    }
    await #expect(throws: CancellationError.self) { _ = try await task.value }
  }

  @Test func nothingHappensBeforeAStreamIsCollected() async throws {
    let client = try Client()
    _ = try client.trainer().train("watch", client.train)
    #expect(!FileManager.default.fileExists(atPath: client.temporary.url.appendingPathComponent("runs").path))
  }

  @Test func aRunThatGotWorseIsRolledBack() async throws {
    let client = try Client()
    let trainer = try client.trainer()
    let other = try Examples(file: client.folder.appendingPathComponent("other.safetensors"))
    let held = try Examples(file: client.folder.appendingPathComponent("other_held.safetensors"))
    // What is kept under that name stays.
    try client.store.importAdapter("watch", from: client.settings.parameters!, for: client.bundle)
    let result = try #require(
      try await collect(trainer.train("watch", other, settings: client.settings, validation: held)).finished)
    #expect(!result.accepted && result.evaluationAfter > result.evaluationBefore)
    #expect(
      try Data(contentsOf: client.store.adapter("watch")) == Data(contentsOf: client.settings.parameters!))
    let written = try PocketTuneExecuTorchTests.result(client.temporary.url.appendingPathComponent("runs/watch"))
    #expect(written["accepted"].line == "false")
  }

  @Test func aResultSaysWhatIsKeptOnlyWhenItIs() async throws {
    let client = try Client()
    // Where the folder of adapters should be there is a file.
    try writeFile(client.temporary.url.path + "/adapters", Data())
    await #expect(throws: PocketTuneError.self) {
      _ = try await collect(
        try client.trainer().train("watch", client.train, settings: client.settings, validation: client.held))
    }
    #expect(try namesIn(client.temporary.url.path + "/runs/watch") == ["work"])
  }

  @Test func refusesWhatItCannotTrainOn() async throws {
    let client = try Client()
    let trainer = try client.trainer()
    func failure(_ examples: Examples, _ settings: TrainingSettings = TrainingSettings(), name: String = "watch") async
      -> ErrorCode?
    {
      do {
        _ = try await collect(trainer.train(name, examples, settings: settings))
        return nil
      } catch { return (error as? PocketTuneError)?.code }
    }
    let one = Array(client.train.inputs[..<600])
    #expect(await failure(Examples(inputs: one, shape: [6, 100], labels: [7])) == .dataInvalid)
    #expect(await failure(Examples(inputs: one, shape: [6, 100], labels: [-1])) == .dataInvalid)
    #expect(await failure(Examples(inputs: [.nan] + one.dropFirst(), shape: [6, 100], labels: [0])) == .dataInvalid)
    #expect(await failure(Examples(inputs: one, shape: [100, 6], labels: [0])) == .tensorMismatch)
    #expect(await failure(Examples(inputs: [], shape: [6, 100], labels: [])) == .dataInvalid)
    #expect(await failure(Examples(inputs: [1], shape: [6, 100], labels: [0])) == .tensorMismatch)
    #expect(await failure(client.train, name: ".hidden") == .configInvalid)
    #expect(await failure(client.train, name: "a/b") == .configInvalid)
    var settings = client.settings
    settings.epochs = 1
    #expect(await failure(client.train, settings) == .configInvalid)
    settings.epochs = nil
    settings.learningRate = 0
    #expect(await failure(client.train, settings) == .adapterUnchanged)
    settings.learningRate = 1e6
    await #expect(failure(client.train, settings) == .stateMismatch)
    try await trainer.discard("watch")
    #expect(await failure(client.train, settings) == .lossNotFinite)
  }

  @Test func preflightSaysWhatWasMeasuredOrWhatIsMissing() async throws {
    let client = try Client()
    let manifest = try JSON.parse(
      [UInt8](Data(contentsOf: client.bundle.folder.appendingPathComponent("manifest.json"))))
    let budget = manifest["budget"]["programs"]
    let training = budget[client.bundle.manifest.training.program]["measured"]
    let evaluation = budget[client.bundle.manifest.classification!.evaluateProgram]["measured"]
    let peak = max(training["peak_pss_bytes"].integer!, evaluation["peak_pss_bytes"].integer!)
    let found = try client.trainer().preflight(client.train, settings: client.settings)
    #expect(found == .go(peakBytes: peak, expectedSeconds: 100 * training["median_seconds"].number!))
    var state = good
    state.availableMemoryBytes = peak + (64 << 20) - 1
    state.charging = nil
    let blocked = try client.trainer(Steady(state: state)).preflight(client.train)
    #expect(blocked == .blocked([FailingCondition(.charging, .unknown), FailingCondition(.memory, .unmet)]))
    #expect(!FileManager.default.fileExists(atPath: client.temporary.url.appendingPathComponent("runs").path))
  }

  @Test func conditionsComeFirstAndTellWhatIsSaved() async throws {
    let client = try Client()
    let runs = client.temporary.url.appendingPathComponent("runs")
    try FileManager.default.createDirectory(at: runs, withIntermediateDirectories: true)
    try FileManager.default.copyItem(
      at: client.folder.appendingPathComponent("stopped"), to: runs.appendingPathComponent("watch"))
    let saved = try #require(try namesIn(client.state(0).deletingLastPathComponent().path).first { $0 != "lock" })
    // A newer state that is not whole is nothing to go on from.
    try Data("damaged".utf8).write(to: client.state(99))
    var warm = good
    warm.thermal = .severe
    // No example is looked at meanwhile: this one has a label that is none.
    let wrong = Examples(inputs: [1], shape: [1], labels: [99])
    let events = try await collect(
      try client.trainer(Steady(state: warm)).train("watch", wrong, settings: client.settings))
    guard case .stopped(let step, let failing) = events.last else { return #expect(Bool(false), "\(events)") }
    #expect(events.count == 1 && failing == [FailingCondition(.thermal, .unmet)])
    #expect(client.state(step).lastPathComponent == saved)
  }

  @Test func aRunThatDoesNotFitTheQuotaDoesNotBegin() async throws {
    let client = try Client(quotaBytes: 1000)
    await #expect(throws: PocketTuneError.self) {
      _ = try await collect(try client.trainer().train("watch", client.train, settings: client.settings))
    }
    #expect(try client.store.usedBytes() == 0)
  }

  @Test func deletingPersonalDataEndsTheRunFirst() async throws {
    let client = try Client()
    let trainer = try client.trainer()
    var settings = client.settings
    settings.steps = 5000
    var last: RunEvent?
    var deleted: Store.Deleted?
    for try await event in trainer.train("watch", client.train, settings: settings) {
      last = event
      if case .stepped(20, _, _, _) = event { deleted = try await client.store.deletePersonalData() }
    }
    guard case .stopped(_, []) = last else { return #expect(Bool(false), "\(String(describing: last))") }
    #expect(try #require(deleted).files == 2)  // a state and the lock
    #expect(try namesIn(client.temporary.url.path).isEmpty)
  }

  @Test func predictsWithTheBitsThatAreThere() async throws {
    let client = try Client()
    let trainer = try client.trainer()
    let logits = try await trainer.predict(client.held.inputs)
    #expect(logits.count == client.held.count && logits.allSatisfy { $0.count == 7 })
    let right = zip(logits, client.held.labels).filter { row, label in row.firstIndex(of: row.max()!) == label }.count
    let score = try await trainer.evaluate(client.held)
    #expect(Double(right) / Double(client.held.count) == score.accuracy)
    await #expect(throws: PocketTuneError.self) { try await trainer.predict(client.held.inputs, bits: 5) }
  }
}
