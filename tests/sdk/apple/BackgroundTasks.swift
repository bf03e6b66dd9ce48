import Foundation

open class BGTask: NSObject {
  public var identifier: String { fatalError() }
  public var expirationHandler: (() -> Void)?
  public func setTaskCompleted(success: Bool) {}
}

open class BGTaskRequest: NSObject {
  public var earliestBeginDate: Date?
}

public final class BGProcessingTaskRequest: BGTaskRequest {
  public init(identifier: String) {}
  public var requiresNetworkConnectivity = false
  public var requiresExternalPower = false
}

public final class BGTaskScheduler: NSObject {
  public class var shared: BGTaskScheduler { fatalError() }
  public func register(
    forTaskWithIdentifier identifier: String, using queue: DispatchQueue?, launchHandler: @escaping (BGTask) -> Void
  ) -> Bool { fatalError() }
  public func submit(_ taskRequest: BGTaskRequest) throws {}
}
