import Foundation
import Testing

@testable import PocketTune

/// Says what the vectors' run says at the start, and before every step: it is read once for each.
private final class Scripted: Sensors, @unchecked Sendable {
  private let run: JSON
  private var state: [Name: JSON]
  private var reads = 0

  init(_ run: JSON) {
    self.run = run
    state = Dictionary(uniqueKeysWithValues: run["state"].object!.map { ($0.name, $0.value) })
  }

  func read() -> DeviceState {
    let moment = reads == 0 ? "start" : String(reads - 1)
    reads += 1
    for change in run["changes"][Name(moment)].object ?? [] { state[change.name] = change.value }
    func flag(_ name: Name) -> Bool? {
      if case .boolean(let value) = state[name] { return value }
      return nil
    }
    return DeviceState(
      charging: flag("charging"), batteryPercent: state["battery_percent"]?.integer.map { Int($0) },
      thermal: state["thermal"]?.text.map { ThermalLevel(rawValue: $0)! }, idle: flag("idle"),
      unmetered: flag("unmetered"), powerSave: flag("power_save"),
      freeStorageBytes: state["free_storage_bytes"]?.integer,
      availableMemoryBytes: state["available_memory_bytes"]?.integer)
  }
}

@Suite(.enabled(if: fixtures != nil, hasFixtures), .serialized) struct ConditionRuns {
  @Test func stopWithinAStepAndGoOnToTheSameBytes() async throws {
    let spec = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent(
      "../../../../spec/vectors/sdk/conditions.json")
    let runs = try JSON.parse([UInt8](Data(contentsOf: spec)))["runs"].list
    #expect(runs.count >= 25)
    var undisturbed: Data?
    for run in runs {
      let client = try Client()
      var settings = client.settings
      settings.steps = Int(run["steps"].integer!)
      let events = try await collect(try client.trainer(Scripted(run)).train("watch", client.train, settings: settings))
      let done = Int(run["completed_steps"].integer!)
      #expect(events.steps == Array(1..<(done + 1)), "\(run["name"].text!)")
      let failing = run["failing"].list.map {
        FailingCondition(.init(rawValue: $0.list[0].text!)!, .init(rawValue: $0.list[1].text!)!)
      }
      if failing.isEmpty {
        #expect(events.finished != nil)
      } else {
        #expect(events.last == .stopped(step: done, failing: failing), "\(run["name"].text!)")
        _ = try await collect(try client.trainer().train("watch", client.train, settings: settings))
      }
      let state = try Data(contentsOf: client.state(settings.steps!))
      undisturbed = undisturbed ?? state
      #expect(state == undisturbed)
    }
  }
}
