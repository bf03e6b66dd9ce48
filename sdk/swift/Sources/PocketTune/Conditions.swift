/// How warm a device says it is, in Android's words.
public enum ThermalLevel: String, CaseIterable, Comparable, Sendable {
  case nominal, light, moderate, severe, critical, emergency, shutdown

  public static func < (one: ThermalLevel, other: ThermalLevel) -> Bool {
    allCases.firstIndex(of: one)! < allCases.firstIndex(of: other)!
  }
}

/// What the sensors say; nil is not known.
public struct DeviceState: Equatable, Sendable {
  public var charging: Bool?
  /// 0 to 100.
  public var batteryPercent: Int?
  public var thermal: ThermalLevel?
  /// Nobody uses the device.
  public var idle: Bool?
  /// Connected to a network that costs nothing by the byte.
  public var unmetered: Bool?
  public var powerSave: Bool?
  public var freeStorageBytes: Int64?
  public var availableMemoryBytes: Int64?

  public init(
    charging: Bool? = nil, batteryPercent: Int? = nil, thermal: ThermalLevel? = nil, idle: Bool? = nil,
    unmetered: Bool? = nil, powerSave: Bool? = nil, freeStorageBytes: Int64? = nil, availableMemoryBytes: Int64? = nil
  ) {
    self.charging = charging
    self.batteryPercent = batteryPercent
    self.thermal = thermal
    self.idle = idle
    self.unmetered = unmetered
    self.powerSave = powerSave
    self.freeStorageBytes = freeStorageBytes
    self.availableMemoryBytes = availableMemoryBytes
  }
}

/// What measures the device. It is asked before every step, on the run's own thread, and should answer at once.
public protocol Sensors: Sendable {
  func read() -> DeviceState
}

/// Seconds from a moment that does not change, never backwards.
public protocol RunClock: Sendable {
  func seconds() -> Double
}

/// The system's monotonic clock.
public struct SystemClock: RunClock {
  private let start = ContinuousClock.now

  public init() {}

  public func seconds() -> Double {
    let (seconds, attoseconds) = start.duration(to: .now).components
    return Double(seconds) + Double(attoseconds) * 1e-18
  }
}

/// What a run needs for itself, in bytes.
public struct Needs: Equatable, Sendable {
  public var memoryBytes: Int64
  public var storageBytes: Int64

  public init(memoryBytes: Int64, storageBytes: Int64) {
    self.memoryBytes = memoryBytes
    self.storageBytes = storageBytes
  }
}

/// A condition that does not hold, and why.
public struct FailingCondition: Hashable, Sendable {
  public enum Condition: String, CaseIterable, Sendable {
    case charging, battery, thermal, idle, unmetered
    case powerSave = "power_save"
    case storage, memory
  }

  public enum Reason: String, Sendable {
    case unmet
    /// A sensor does not say; what is asked for and unknown does not hold.
    case unknown
  }

  public let condition: Condition
  public let reason: Reason

  public init(_ condition: Condition, _ reason: Reason) {
    self.condition = condition
    self.reason = reason
  }
}

/// What must hold for training to begin, or to go on.
///
///     var evenings = Conditions.start
///     evenings.idle = false
public struct Conditions: Equatable, Sendable {
  /// Ask that the device is charging.
  public var charging: Bool
  /// Percent; 0: not asked.
  public var minimumBatteryPercent: Int
  /// nil: not asked.
  public var maximumThermal: ThermalLevel?
  /// Ask that nobody uses the device.
  public var idle: Bool
  /// Ask for a network that costs nothing by the byte.
  public var unmetered: Bool
  /// Ask that the device does not save power.
  public var powerSave: Bool
  /// Bytes that must stay free beside what the run needs. Storage is always asked about.
  public var storageReserveBytes: Int64
  /// The same for memory.
  public var memoryReserveBytes: Int64

  public init(
    charging: Bool = true, minimumBatteryPercent: Int = 30, maximumThermal: ThermalLevel? = .light,
    idle: Bool = true, unmetered: Bool = false, powerSave: Bool = true, storageReserveBytes: Int64 = 64 << 20,
    memoryReserveBytes: Int64 = 64 << 20
  ) {
    self.charging = charging
    self.minimumBatteryPercent = minimumBatteryPercent
    self.maximumThermal = maximumThermal
    self.idle = idle
    self.unmetered = unmetered
    self.powerSave = powerSave
    self.storageReserveBytes = storageReserveBytes
    self.memoryReserveBytes = memoryReserveBytes
  }

  /// The default to begin with.
  public static let start = Conditions()
  /// The default to go on with.
  public static let proceed = Conditions(minimumBatteryPercent: 20, memoryReserveBytes: 32 << 20)

  /// What does not hold, in the order of `FailingCondition.Condition`.
  public func failing(_ state: DeviceState, _ needs: Needs) -> [FailingCondition] {
    func enough(_ have: Int64?, _ need: Int64, _ reserve: Int64) -> Bool? {
      let (sum, overflow) = need.addingReportingOverflow(reserve)
      return have.map { !overflow && $0 >= sum }
    }
    let answers: [(FailingCondition.Condition, asked: Bool, holds: Bool?)] = [
      (.charging, charging, state.charging),
      (.battery, minimumBatteryPercent > 0, state.batteryPercent.map { $0 >= minimumBatteryPercent }),
      (.thermal, maximumThermal != nil, state.thermal.map { $0 <= maximumThermal ?? .shutdown }),
      (.idle, idle, state.idle),
      (.unmetered, unmetered, state.unmetered),
      (.powerSave, powerSave, state.powerSave.map { !$0 }),
      (.storage, true, enough(state.freeStorageBytes, needs.storageBytes, storageReserveBytes)),
      (.memory, true, enough(state.availableMemoryBytes, needs.memoryBytes, memoryReserveBytes)),
    ]
    return answers.filter { $0.asked && $0.holds != true }.map {
      FailingCondition($0.0, $0.holds == nil ? .unknown : .unmet)
    }
  }
}
