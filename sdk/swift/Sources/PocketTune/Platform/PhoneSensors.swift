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
    private var storage: (bytes: Int64?, at: Double)?
    private let clock = SystemClock()
    private var observers: [any NSObjectProtocol] = []

    /// `folder`: where the store lies, which must be there; its volume's room is what counts.
    @MainActor
    public init(folder: URL) {
      self.folder = folder
      UIDevice.current.isBatteryMonitoringEnabled = true
      readBattery()
      for name in [UIDevice.batteryStateDidChangeNotification, UIDevice.batteryLevelDidChangeNotification] {
        // @Sendable: such a closure does not inherit the main actor, whose check would end the app elsewhere.
        observers.append(
          NotificationCenter.default.addObserver(forName: name, object: nil, queue: .main) { @Sendable [weak self] _ in
            MainActor.assumeIsolated { self?.readBattery() }
          })
      }
      monitor.pathUpdateHandler = { @Sendable [weak self] path in
        self?.lock.withLock {
          self?.unmetered = path.status == .satisfied && !path.isExpensive && !path.isConstrained
        }
      }
      monitor.start(queue: DispatchQueue(label: "pockettune.network"))
    }

    deinit {
      monitor.cancel()
      for observer in observers { NotificationCenter.default.removeObserver(observer) }
    }

    /// The battery may be asked on the main thread only, and a run asks from its own: what it last said is kept.
    @MainActor
    private func readBattery() {
      let (state, level) = (UIDevice.current.batteryState, UIDevice.current.batteryLevel)
      lock.withLock {
        charging = state == .unknown ? nil : state != .unplugged
        batteryPercent = level < 0 ? nil : Int((level * 100).rounded())
      }
    }

    /// Says whether the device is idle; nil: nobody knows.
    public func set(idle: Bool?) { lock.withLock { self.idle = idle } }

    public func read() -> DeviceState {
      let known = lock.withLock { (charging: charging, battery: batteryPercent, idle: idle, unmetered: unmetered) }
      return DeviceState(
        charging: known.charging, batteryPercent: known.battery,
        thermal: ThermalLevel(ProcessInfo.processInfo.thermalState), idle: known.idle, unmetered: known.unmetered,
        powerSave: ProcessInfo.processInfo.isLowPowerModeEnabled,
        freeStorageBytes: freeStorageBytes(), availableMemoryBytes: availableMemoryBytes())
    }

    /// The system adds up what it could throw away before it answers, so an answer serves for ten seconds.
    private func freeStorageBytes() -> Int64? {
      let now = clock.seconds()
      if let storage = lock.withLock({ storage }), now - storage.at < 10 { return storage.bytes }
      // A URL keeps the values that it was asked for until a run loop turns, and a run's thread has none.
      let fresh = URL(fileURLWithPath: folder.path)
      let values = try? fresh.resourceValues(forKeys: [.volumeAvailableCapacityForImportantUsageKey])
      let bytes = values?.volumeAvailableCapacityForImportantUsage
      lock.withLock { storage = (bytes, now) }
      return bytes
    }

    private func availableMemoryBytes() -> Int64? {
      #if targetEnvironment(simulator)
        // No limit is set there, and the function says 0.
        return Int64(ProcessInfo.processInfo.physicalMemory)
      #else
        return Int64(os_proc_available_memory())
      #endif
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
