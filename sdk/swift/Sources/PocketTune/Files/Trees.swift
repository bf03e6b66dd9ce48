import Foundation

#if canImport(Darwin)
  import Darwin
#else
  import Glibc
#endif

func isThere(_ path: String) -> Bool {
  var status = stat()
  return lstat(path, &status) == 0
}

/// All files at a path and under it, links not followed; several names of one file count once, and what goes away
/// meanwhile not at all. Throws `ioFailed`: what cannot be read takes room, too.
func measure(_ path: String, without excluded: String? = nil) throws -> Store.Deleted {
  var seen: Set<[UInt64]> = []
  var found = Store.Deleted()
  func add(_ path: String) throws {
    guard path != excluded else { return }
    var status = stat()
    guard lstat(path, &status) == 0 else {
      if errno == ENOENT { return }
      throw fileError("measure", path)
    }
    guard status.st_mode & S_IFMT == S_IFDIR else {
      let file = FileStamp(status)
      if seen.insert([file.device, file.inode]).inserted {
        found.files += 1
        found.bytes += file.size
      }
      return
    }
    for name in try namesIn(path) { try add("\(path)/\(name)") }
  }
  try add(path)
  return found
}

/// Removes a folder and everything in it. Throws `ioFailed`.
func removeTree(_ folder: String) throws {
  do {
    try FileManager.default.removeItem(atPath: folder)
  } catch {
    throw PocketTuneError(.ioFailed, "'\(folder)' could not be removed: \(error.localizedDescription); try again")
  }
}

/// Copies an open file, durably.
func copyFile(_ source: PlainFile, to target: String) throws {
  let file = try AtomicFile(target)
  let piece = try Buffer(1 << 18)
  var at = 0
  while at < source.size {
    let part = UnsafeMutableRawBufferPointer(rebasing: piece.bytes[..<min(piece.bytes.count, source.size - at)])
    try source.read(part, at: at)
    try file.append(UnsafeRawBufferPointer(part))
    at += part.count
  }
  try file.commit()
}
