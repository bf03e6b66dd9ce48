// What Apple's Foundation has and Linux' has not.
import Foundation

extension ProcessInfo {
  public enum ThermalState: Int, Sendable { case nominal, fair, serious, critical }
  public var thermalState: ThermalState { fatalError() }
  public var isLowPowerModeEnabled: Bool { fatalError() }
}

extension URLResourceKey {
  public static let volumeAvailableCapacityForImportantUsageKey = URLResourceKey(rawValue: "")
}

extension URLResourceValues {
  public var volumeAvailableCapacityForImportantUsage: Int64? { fatalError() }
}

public typealias CFString = String
public typealias CFData = Data
public typealias CFDictionary = NSDictionary

public func autoreleasepool<Result>(invoking body: () throws -> Result) rethrows -> Result { try body() }
