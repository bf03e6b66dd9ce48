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
    let opened = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0o644)
    guard opened >= 0 else { throw fileError("create", path) }
    // From here on the file is closed by deinit, which also ends an init that throws: closing it twice could close
    // what another thread has opened meanwhile.
    descriptor = opened
    guard tryLock(opened) else {
      throw PocketTuneError(.ioFailed, "another run uses '\(work)': wait for it, or use another name")
    }
  }

  deinit { close(descriptor) }
}

/// Takes the lock of a file that is open for writing, for as long as it is open; false when another has it. A file
/// system without locks (another errno) has to do without.
func tryLock(_ descriptor: Int32) -> Bool {
  #if canImport(Darwin)
    return flock(descriptor, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK
  #else
    // The open file's own lock, which ends with it as flock's does, but which also excludes those of Java: fcntl's,
    // which flock does not see on Linux. F_OFD_SETLK of the kernel's fcntl.h:
    let setOpenFileLock: Int32 = 37
    var whole = Glibc.flock()
    whole.l_type = Int16(F_WRLCK)
    whole.l_whence = Int16(SEEK_SET)
    return fcntl(descriptor, setOpenFileLock, &whole) == 0 || (errno != EAGAIN && errno != EACCES)
  #endif
}
