import Foundation
import PocketTuneExecuTorch
import Testing

@testable import PocketTune

@Suite(.enabled(if: fixtures != nil, hasFixtures), .serialized) struct Personalization {
  private let folder: URL
  private let bundle: ModelBundle
  private let temporary: TemporaryFolder
  private let store: Store
  private let personalizer: Personalizer
  private let photos: [Pixels]

  init() throws {
    folder = try #require(fixtures).appendingPathComponent("starter")
    bundle = try ModelBundle.open(folder.appendingPathComponent("bundle"))
    temporary = try TemporaryFolder()
    store = try Store(root: temporary.url)
    personalizer = try Personalizer(bundle: bundle, store: store, engine: engine, sensors: Steady())
    let file = try TensorFile(folder.appendingPathComponent("inputs.safetensors").path)
    let entry = try #require(file.header.find("pixels"))
    let values = try Buffer(entry.bytes)
    try file.read(entry, into: values.bytes)
    let size = entry.shape[1...].reduce(1, *)
    photos = (0..<entry.shape[0]).map { index in
      Pixels(
        height: entry.shape[2], width: entry.shape[3],
        values: Array(values.floats[(index * size)..<((index + 1) * size)]))
    }
  }

  @Test func isTheNativeRunnersByteForByte() async throws {
    var settings = PersonalizationSettings()
    (settings.steps, settings.seed) = (200, 3)
    let events = try await collect(personalizer.personalize("bear", photos, prompt: "a sks bear", settings: settings))
    let result = try #require(events.finished)
    let native = try PocketTuneExecuTorchTests.result(folder.appendingPathComponent("whole"))
    #expect(result.losses.map(shortestText) == native["losses"].list.map(\.line))
    #expect(shortestText(result.change) == native["adapter_change"].line)
    #expect(result.accepted && result.evaluationAfter < result.evaluationBefore)
    let written = try PocketTuneExecuTorchTests.result(temporary.url.appendingPathComponent("runs/bear"))
    for (title, json) in [("here", written), ("in the native runner", native)] {
      let peak = json["peak_pss_bytes"].integer! >> 20
      print("figure: a personalization's process has at most \(peak) MiB \(title), all that it does included")
    }
    let work = temporary.url.appendingPathComponent("runs/bear/work")
    for file in ["state-00000200.safetensors", "cache.bin"] {
      let native = try Data(contentsOf: folder.appendingPathComponent("whole/work/\(file)"))
      #expect(try Data(contentsOf: work.appendingPathComponent(file)) == native, "\(file)")
    }
    let adapter = try store.adapter("bear")
    #expect(
      try Data(contentsOf: adapter) == Data(contentsOf: folder.appendingPathComponent("whole/adapter.safetensors")))
    let picture = try await personalizer.generate("a sks bear", adapter: adapter, seed: 5, steps: 8)
    #expect(try Data(picture.bytes) == Data(contentsOf: folder.appendingPathComponent("after.rgb")))
    let plain = try await personalizer.generate("a sks bear", seed: 5, steps: 8)
    #expect(try Data(plain.bytes) == Data(contentsOf: folder.appendingPathComponent("before.rgb")))
    #expect(plain != picture)
  }

  @Test func keepsTheClassAsTheNativeRunnerDoes() async throws {
    var settings = PersonalizationSettings()
    (settings.steps, settings.samples, settings.seed) = (12, 7, 3)
    (settings.classPictures, settings.priorWeight, settings.classPrompt) = (2, 0.5, "a bear")
    let events = try await collect(personalizer.personalize("bear", photos, prompt: "a sks bear", settings: settings))
    let result = try #require(events.finished)
    let native = try PocketTuneExecuTorchTests.result(folder.appendingPathComponent("prior"))
    #expect(result.losses.map(shortestText) == native["losses"].list.map(\.line))
    let work = temporary.url.appendingPathComponent("runs/bear/work")
    for file in ["state-00000012.safetensors", "cache.bin"] {
      let native = try Data(contentsOf: folder.appendingPathComponent("prior/work/\(file)"))
      #expect(try Data(contentsOf: work.appendingPathComponent(file)) == native, "\(file)")
    }
    // What was prepared first are the pictures, to their last step.
    let drawn = events.prefix { event in
      if case .prepared(let program, _, _) = event { return program == bundle.manifest.generation!.stepProgram.text }
      return false
    }
    let steps = 2 * bundle.manifest.generation!.steps
    guard drawn.count == steps, case .prepared(_, steps, steps) = drawn.last else {
      return #expect(Bool(false), "\(drawn)")
    }
    settings.classPrompt = nil
    do {
      _ = try personalizer.preflight(photos: 1, settings: settings)
      #expect(Bool(false), "it was taken")
    } catch let error as PocketTuneError {
      #expect(error.code == .configInvalid)
    }
  }

  @Test func preparesStopsAndGoesOn() async throws {
    var settings = PersonalizationSettings()
    (settings.steps, settings.samples, settings.seed, settings.checkpointEvery) = (12, 5, 3, 5)
    var names: [String] = []
    var last: RunEvent?
    for try await event in personalizer.personalize("bear", photos, prompt: "a sks bear", settings: settings) {
      last = event
      if case .prepared(let program, let done, let total) = event, done == total { names.append(program) }
      if case .stepped(2, _, _, _) = event { await personalizer.pause() }
    }
    #expect(names == bundle.manifest.preparation.map(\.text))
    guard case .stopped(_, []) = last else { return #expect(Bool(false), "\(String(describing: last))") }
    let rest = try await collect(personalizer.personalize("bear", photos, prompt: "a sks bear", settings: settings))
    #expect(rest.finished != nil)
    // The caches were complete: nothing is prepared again.
    #expect(!rest.contains { if case .prepared = $0 { true } else { false } })
  }

  @Test func refusesWhatItCannotLearnFrom() async throws {
    func failure(_ photos: [Pixels], _ prompt: String, _ settings: PersonalizationSettings = .init()) async
      -> ErrorCode?
    {
      do {
        _ = try await collect(personalizer.personalize("bear", photos, prompt: prompt, settings: settings))
        return nil
      } catch { return (error as? PocketTuneError)?.code }
    }
    #expect(await failure([], "a sks bear") == .photosTooFew)
    #expect(await failure(photos, String(repeating: "bear ", count: 30)) == .promptTooLong)
    #expect(
      await failure([Pixels(height: 2, width: 2, values: [Float](repeating: 0, count: 12))], "a") == .tensorMismatch)
    #expect(
      await failure([Pixels(height: 64, width: 64, values: [Float](repeating: 2, count: 12288))], "a")
        == .tensorMismatch)
    var settings = PersonalizationSettings()
    settings.steps = 0
    #expect(await failure(photos, "a", settings) == .configInvalid)
    await #expect(throws: PocketTuneError.self) { try await personalizer.generate("a", steps: 1001) }
    #expect(
      try personalizer.preflight(photos: 4)
        == .go(
          peakBytes: personalizer.context.peakBytes(
            bundle.manifest.preparation + ["train_step"],
            stateBytes: TrainingState.bytes(bundle, PersonalizationPlan(bundle, .init(), photos: 4).stateNames)),
          expectedSeconds: nil))
  }
}
