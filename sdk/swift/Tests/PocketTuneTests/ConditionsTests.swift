import Testing

@testable import PocketTune

@Suite struct ConditionDecisions {
  private let vectors: JSON

  init() throws { vectors = try json("spec/vectors/sdk/conditions.json") }

  @Test func defaultsAreTheSpecified() throws {
    #expect(try Conditions(vectors["defaults"]["start"]) == .start)
    #expect(try Conditions(vectors["defaults"]["continue"]) == .proceed)
  }

  @Test func decisions() throws {
    #expect(vectors["cases"].list.count >= 90)
    for entry in vectors["cases"].list {
      let needs = Needs(
        memoryBytes: entry["needs"]["memory_bytes"].integer!, storageBytes: entry["needs"]["storage_bytes"].integer!)
      let failing = try Conditions(entry["conditions"]).failing(DeviceState(entry["state"]), needs)
      let found = failing.map { [$0.condition.rawValue, $0.reason.rawValue] }
      #expect(found == entry["failing"].list.map { $0.list.map { $0.text! } }, "\(entry["name"].text!)")
    }
  }
}

extension Conditions {
  fileprivate init(_ json: JSON) throws {
    self.init(
      charging: json["charging"].boolean!, minimumBatteryPercent: Int(json["minimum_battery_percent"].integer!),
      maximumThermal: json["maximum_thermal"].text.map { ThermalLevel(rawValue: $0)! }, idle: json["idle"].boolean!,
      unmetered: json["unmetered"].boolean!, powerSave: json["power_save"].boolean!,
      storageReserveBytes: json["storage_reserve_bytes"].integer!,
      memoryReserveBytes: json["memory_reserve_bytes"].integer!)
  }
}

extension DeviceState {
  fileprivate init(_ json: JSON) {
    self.init(
      charging: json["charging"].boolean, batteryPercent: json["battery_percent"].integer.map { Int($0) },
      thermal: json["thermal"].text.map { ThermalLevel(rawValue: $0)! }, idle: json["idle"].boolean,
      unmetered: json["unmetered"].boolean, powerSave: json["power_save"].boolean,
      freeStorageBytes: json["free_storage_bytes"].integer,
      availableMemoryBytes: json["available_memory_bytes"].integer)
  }
}
