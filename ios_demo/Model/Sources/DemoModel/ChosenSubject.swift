import Foundation

/// What a person chose to be learned: kept for the run of the night, which goes on only with the same photos and prompt.
public struct ChosenSubject: Codable, Sendable, Equatable {
  /// The photos' files.
  public let photos: [Data]
  public let prompt: String

  public init(photos: [Data], prompt: String) {
    self.photos = photos
    self.prompt = prompt
  }

  /// Reads what was saved; nil when nothing is.
  public init?(file: URL) throws {
    guard FileManager.default.fileExists(atPath: file.path) else { return nil }
    self = try PropertyListDecoder().decode(ChosenSubject.self, from: Data(contentsOf: file))
  }

  /// Photos are nobody else's: the file goes into no backup, and a locked phone reads it at night.
  public func save(to file: URL) throws {
    let encoder = PropertyListEncoder()
    encoder.outputFormat = .binary
    var options: Data.WritingOptions = [.atomic]
    #if os(iOS)
      options.insert(.completeFileProtectionUntilFirstUserAuthentication)
    #endif
    try encoder.encode(self).write(to: file, options: options)
    #if os(iOS)
      var (file, values) = (file, URLResourceValues())
      values.isExcludedFromBackup = true
      try file.setResourceValues(values)
    #endif
  }

  /// Removes what was saved, if anything was.
  public static func forget(_ file: URL) throws {
    if FileManager.default.fileExists(atPath: file.path) { try FileManager.default.removeItem(at: file) }
  }
}
