import Foundation
import Testing

@testable import PocketTune

#if canImport(Glibc)
  import Glibc
#endif

@Suite(.enabled(if: fixtures != nil, hasFixtures), .serialized) struct Kills {
  private let client: Client
  private let products = URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent()

  init() throws { client = try Client() }

  private func start(steps: Int, every: Int, killAt: String? = nil) throws -> Process {
    let process = Process()
    process.executableURL = products.appendingPathComponent("KillSubject")
    let folder = client.folder
    process.arguments = [
      folder.appendingPathComponent("bundle").path, folder.appendingPathComponent("examples.safetensors").path,
      client.settings.parameters!.path, client.temporary.url.path, String(steps), String(every),
    ]
    if let killAt {
      process.environment = environment.merging([
        "LD_PRELOAD": products.appendingPathComponent("libKillAt.so").path, "POCKETTUNE_KILL_AT": killAt,
      ]) { $1 }
    }
    process.standardOutput = FileHandle.nullDevice
    try process.run()
    return process
  }

  private func finish(steps: Int, every: Int) throws -> [Data] {
    let process = try start(steps: steps, every: every)
    process.waitUntilExit()
    #expect(process.terminationStatus == 0)
    return try results(steps)
  }

  private func results(_ steps: Int) throws -> [Data] {
    let left = try namesIn(client.state(0).deletingLastPathComponent().path)
    #expect(left == ["lock", client.state(steps).lastPathComponent])
    return [try Data(contentsOf: client.state(steps)), try Data(contentsOf: client.store.adapter("watch"))]
  }

  private func forget() throws {
    try client.store.discardRun("watch")
    try client.store.deleteAdapter("watch")
  }

  /// POCKETTUNE_KILLS: how many; 200 are asked for by hand.
  @Test func atAnyTimeLoseNothing() throws {
    let wanted = Int(environment["POCKETTUNE_KILLS"] ?? "") ?? 10
    let begin = Date()
    let undisturbed = try finish(steps: 300, every: 3)
    let seconds = Date().timeIntervalSince(begin)
    var (kills, ends) = (0, 0)
    var generator = Seeded(state: 1)
    try forget()
    while kills < wanted {
      let process = try start(steps: 300, every: 3)
      usleep(UInt32(generator.next() % UInt64(1e6 * seconds)))
      kill(process.processIdentifier, SIGKILL)
      process.waitUntilExit()
      if process.terminationReason == .uncaughtSignal {
        kills += 1
        continue
      }
      ends += 1
      #expect(try results(300) == undisturbed)
      try forget()
    }
    #expect(try finish(steps: 300, every: 3) == undisturbed)
    print("figure: \(kills) random kills, \(ends + 1) runs ended bit-equal; one run takes \(seconds) s")
  }

  @Test func betweenWritingSyncingAndRenamingLoseNothing() throws {
    let undisturbed = try finish(steps: 4, every: 2)
    var kills = 0
    for call in ["pwrite", "fsync", "rename", "unlink"] {
      for moment in ["before", "after"] {
        for number in 1...30 {
          try forget()
          let process = try start(steps: 4, every: 2, killAt: "\(call) \(number) \(moment)")
          process.waitUntilExit()
          if process.terminationReason != .uncaughtSignal { break }
          kills += 1
          #expect(try finish(steps: 4, every: 2) == undisturbed, "\(call) \(number) \(moment)")
        }
      }
    }
    #expect(kills > 40)
    print("figure: \(kills) kills at writes, syncs, renames and removals, all bit-equal afterwards")
  }
}

/// SplitMix64: the same numbers in every run.
struct Seeded {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
    return z ^ z >> 31
  }
}
