import Foundation
import Testing

@testable import PocketTune

/// What the SDK's own loop costs beside the engine: each step's time outside of the session.
private final class TimedEngine: Engine, @unchecked Sendable {
  let name = engine.name
  let version = engine.version
  let clock = SystemClock()
  private(set) var seconds = 0.0

  final class Timed: Session {
    let inner: any Session
    let owner: TimedEngine

    init(_ inner: any Session, _ owner: TimedEngine) {
      self.inner = inner
      self.owner = owner
    }

    func run(inputs: [UnsafeRawBufferPointer], outputs: [UnsafeMutableRawBufferPointer]) throws {
      let begin = owner.clock.seconds()
      try inner.run(inputs: inputs, outputs: outputs)
      owner.seconds += owner.clock.seconds() - begin
    }
  }

  func open(_ bundle: ModelBundle, _ program: Program) throws -> any Session {
    Timed(try engine.open(bundle, program), self)
  }
}

@Suite(.enabled(if: fixtures != nil, hasFixtures), .serialized) struct Overhead {
  @Test func ofAStarterStepIsSmall() throws {
    let folder = try #require(fixtures).appendingPathComponent("starter")
    let bundle = try ModelBundle.open(folder.appendingPathComponent("bundle"))
    let plan = try PersonalizationPlan(bundle, PersonalizationSettings(), photos: 4)
    let timed = TimedEngine()
    let caches = MemoryCache()
    for name in plan.caches {
      let cache = bundle.manifest.caches[name]!
      for item in 0..<plan.items[cache.scope]! { try caches.write(name, item, try Buffer(cache.storedBytes).readable) }
    }
    let executor = try Executor(
      timed, bundle, try bundle.program(bundle.manifest.training.program), seed: 0, hyper: plan.hyper,
      batch: PhotoBatch(prompts: [bundle.manifest.text!.unconditional]),
      state: try TrainingState(bundle, plan.stateNames), caches: caches)
    for step in 0..<10 { try executor.run(plan.item(step)) }
    let engineBefore = timed.seconds
    let begin = timed.clock.seconds()
    for step in 0..<200 { try executor.run(plan.item(step)) }
    let all = timed.clock.seconds() - begin
    let share = 1 - (timed.seconds - engineBefore) / all
    print("figure: a starter step takes \(all / 200) s, of which \(100 * share) % are not the engine's")
    print("figure: peak resident memory of the tests' process: \(ProcessMemory.peakResident() >> 20) MiB")
    #expect(share < 0.05)
  }
}
