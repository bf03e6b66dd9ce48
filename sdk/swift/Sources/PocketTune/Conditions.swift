/// How warm a device says it is, in Android's words.
public enum ThermalLevel: String, CaseIterable, Comparable, Sendable {
  /// Nothing to heed.
  case nominal
  /// Warm; work goes on.
  case light
  /// Too warm for work that can wait.
  case moderate
  /// Hot: the system slows down.
  case severe
  /// Hot: the system slows down much.
  case critical
  /// Parts are switched off.
  case emergency
  /// About to switch off.
  case shutdown

  public static func < (one: ThermalLevel, other: ThermalLevel) -> Bool {
    allCases.firstIndex(of: one)! < allCases.firstIndex(of: other)!
  }
}

/// What the sensors say; nil is not known.
public struct DeviceState: Equatable, Sendable {
  /// Whether it takes power from outside.
  public var charging: Bool?
  /// 0 to 100.
  public var batteryPercent: Int?
  /// How warm it says that it is.
  public var thermal: ThermalLevel?
  /// Nobody uses the device.
  public var idle: Bool?
  /// Connected to a network that costs nothing by the byte.
  public var unmetered: Bool?
  /// Whether its user asked it to save power.
  public var powerSave: Bool?
  /// On the store's volume.
  public var freeStorageBytes: Int64?
  /// What the app may still take.
  public var availableMemoryBytes: Int64?

  /// What is left out is not known.
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
  /// What is known now.
  func read() -> DeviceState
}

/// Seconds from a moment that does not change, never backwards.
public protocol RunClock: Sendable {
  /// Seconds, of any beginning.
  func seconds() -> Double
}

/// The system's monotonic clock.
public struct SystemClock: RunClock {
  private let start = ContinuousClock.now

  /// A clock that begins at 0.
  public init() {}

  /// Seconds since it was made.
  public func seconds() -> Double {
    let (seconds, attoseconds) = start.duration(to: .now).components
    return Double(seconds) + Double(attoseconds) * 1e-18
  }
}

/// What a run needs for itself, in bytes.
public struct Needs: Equatable, Sendable {
  /// At its peak.
  public var memoryBytes: Int64
  /// What it will write.
  public var storageBytes: Int64

  /// Both in bytes.
  public init(memoryBytes: Int64, storageBytes: Int64) {
    self.memoryBytes = memoryBytes
    self.storageBytes = storageBytes
  }
}

/// A condition that does not hold, and why.
public struct FailingCondition: Hashable, Sendable {
  /// What can be asked for, in the order in which it is reported.
  public enum Condition: String, CaseIterable, Sendable {
    /// It takes power from outside.
    case charging
    /// The battery is full enough.
    case battery
    /// It is cool enough.
    case thermal
    /// Nobody uses it.
    case idle
    /// The network costs nothing by the byte.
    case unmetered
    /// It does not save power.
    case powerSave = "power_save"
    /// There is room for what will be written.
    case storage
    /// There is memory for the run.
    case memory
  }

  /// Why a condition does not hold.
  public enum Reason: String, Sendable {
    /// It is known not to hold.
    case unmet
    /// A sensor does not say; what is asked for and unknown does not hold.
    case unknown
  }

  /// Which one.
  public let condition: Condition
  /// Why.
  public let reason: Reason

  /// For tests of an app's own.
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

  /// The defaults are those to begin with.
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

  /// Throws `configInvalid` for what never holds, or no device has.
  func check() throws {
    try require("minimumBatteryPercent", minimumBatteryPercent, 0...100)
    try require("storageReserveBytes", storageReserveBytes, 0...Int64.max)
    try require("memoryReserveBytes", memoryReserveBytes, 0...Int64.max)
  }

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
