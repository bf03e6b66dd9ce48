import Foundation

@MainActor public final class UIDevice: NSObject {
  public enum BatteryState: Int, Sendable { case unknown, unplugged, charging, full }
  public class var current: UIDevice { fatalError() }
  public var isBatteryMonitoringEnabled = false
  public var batteryState: BatteryState { fatalError() }
  public var batteryLevel: Float { fatalError() }
  public nonisolated static let batteryStateDidChangeNotification = Notification.Name("")
  public nonisolated static let batteryLevelDidChangeNotification = Notification.Name("")
}
