#if os(iOS)
  import Foundation
  import Network
  import UIKit
  import os

  // Never compiled here: this repository's machines have no Apple system. It is parsed, and that is all.

  /// What an iPhone or iPad measures.
  ///
  /// The system does not say whether anybody uses the device. `idle` is unknown until somebody who knows sets it: the
  /// system runs a `BGProcessingTask` only while the device is idle, so `PersonalizationTask` does.
  public final class PhoneSensors: Sensors, @unchecked Sendable {
    private let lock = NSLock()
    private let monitor = NWPathMonitor()
    private let folder: URL
    private var unmetered: Bool?
    private var idle: Bool?
    private var charging: Bool?
    private var batteryPercent: Int?

    /// `folder`: where the store lies; its volume's room is what counts.
    @MainActor
    public init(folder: URL) {
      self.folder = folder
      UIDevice.current.isBatteryMonitoringEnabled = true
      readBattery()
      for name in [UIDevice.batteryStateDidChangeNotification, UIDevice.batteryLevelDidChangeNotification] {
        NotificationCenter.default.addObserver(forName: name, object: nil, queue: .main) { [weak self] _ in
          MainActor.assumeIsolated { self?.readBattery() }
        }
      }
      monitor.pathUpdateHandler = { [weak self] path in
        self?.lock.withLock {
          self?.unmetered = path.status == .satisfied && !path.isExpensive && !path.isConstrained
        }
      }
      monitor.start(queue: DispatchQueue(label: "pockettune.network"))
    }

    deinit { monitor.cancel() }

    /// The battery may be asked on the main thread only, and a run asks from its own: what it last said is kept.
    @MainActor
    private func readBattery() {
      let (state, level) = (UIDevice.current.batteryState, UIDevice.current.batteryLevel)
      lock.withLock {
        charging = state == .unknown ? nil : state != .unplugged
        batteryPercent = level < 0 ? nil : Int(level * 100)
      }
    }

    /// Says whether the device is idle; nil: nobody knows.
    public func set(idle: Bool?) { lock.withLock { self.idle = idle } }

    public func read() -> DeviceState {
      let known = lock.withLock { (charging: charging, battery: batteryPercent, idle: idle, unmetered: unmetered) }
      let room = try? folder.resourceValues(forKeys: [.volumeAvailableCapacityForImportantUsageKey])
      return DeviceState(
        charging: known.charging, batteryPercent: known.battery,
        thermal: ThermalLevel(ProcessInfo.processInfo.thermalState), idle: known.idle, unmetered: known.unmetered,
        powerSave: ProcessInfo.processInfo.isLowPowerModeEnabled,
        freeStorageBytes: room?.volumeAvailableCapacityForImportantUsage,
        availableMemoryBytes: Int64(os_proc_available_memory()))
    }
  }

  extension ThermalLevel {
    /// Apple's four levels among Android's seven; nil for one that is new.
    init?(_ state: ProcessInfo.ThermalState) {
      switch state {
      case .nominal: self = .nominal
      case .fair: self = .light
      case .serious: self = .severe
      case .critical: self = .critical
      @unknown default: return nil
      }
    }
  }
#endif
