import Foundation

#if canImport(Darwin)
  import Darwin
#else
  import Glibc
#endif

/// One run at a time in a folder; the lock goes with the process, however it ends.
final class FolderLock {
  private let descriptor: Int32

  /// Throws `ioFailed` while another run holds it.
  init(_ work: String) throws {
    let path = "\(work)/lock"
    descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o644)
    guard descriptor >= 0 else { throw fileError("create", path) }
    // A file system without locks (another errno) has to do without.
    if flock(descriptor, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK {
      close(descriptor)
      throw PocketTuneError(.ioFailed, "another run uses '\(work)': wait for it, or use another name")
    }
  }

  deinit { close(descriptor) }
}
