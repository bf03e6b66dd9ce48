import Foundation

#if canImport(Darwin)
  import Darwin
#else
  import Glibc
#endif

/// What errno says about a file, as one of our errors.
func fileError(_ what: String, _ path: String, _ number: Int32 = errno) -> PocketTuneError {
  if number == ENOSPC || number == EDQUOT || number == EFBIG {
    return PocketTuneError(.diskFull, "no room left for '\(path)': free some space and try again")
  }
  return PocketTuneError(.ioFailed, "cannot \(what) '\(path)': \(String(cString: strerror(number)))")
}

/// What tells a file from another of its name, and from itself after a change.
struct FileStamp: Equatable {
  let device: UInt64
  let inode: UInt64
  let size: Int64
  let changed: [Int]

  init(_ status: stat) {
    device = UInt64(truncatingIfNeeded: status.st_dev)
    inode = UInt64(truncatingIfNeeded: status.st_ino)
    size = Int64(status.st_size)
    #if canImport(Darwin)
      let times = [status.st_mtimespec, status.st_ctimespec]
    #else
      let times = [status.st_mtim, status.st_ctim]
    #endif
    changed = times.flatMap { [Int($0.tv_sec), Int($0.tv_nsec)] }
  }
}

func modificationTime(_ status: stat) -> Date {
  #if canImport(Darwin)
    let time = status.st_mtimespec
  #else
    let time = status.st_mtim
  #endif
  return Date(timeIntervalSince1970: Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9)
}

func isRegular(_ status: stat) -> Bool { status.st_mode & S_IFMT == S_IFREG }
func isLink(_ status: stat) -> Bool { status.st_mode & S_IFMT == S_IFLNK }

/// A regular file that is open for reading. Named pipes and folders are `ioFailed`.
final class PlainFile {
  let path: String
  let stamp: FileStamp
  private let descriptor: Int32

  var size: Int { Int(stamp.size) }

  init(_ path: String) throws {
    // Without O_NONBLOCK, opening a named pipe would wait for its writer, forever.
    let opened = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)
    guard opened >= 0 else { throw fileError("open", path) }
    var status = stat()
    guard fstat(opened, &status) == 0, isRegular(status) else {
      close(opened)
      throw PocketTuneError(.ioFailed, "'\(path)' is not a regular file")
    }
    self.path = path
    descriptor = opened
    stamp = FileStamp(status)
  }

  deinit { close(descriptor) }

  /// Fills all of `into` from a place in the file.
  func read(_ into: UnsafeMutableRawBufferPointer, at offset: Int) throws {
    try readFully(descriptor, path, into, at: offset)
  }

  /// `count` bytes from a place; the caller has compared the count with the file's size.
  func bytes(at offset: Int, count: Int) throws -> [UInt8] {
    try [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
      try read(UnsafeMutableRawBufferPointer(buffer), at: offset)
      filled = count
    }
  }

  /// SHA-256 of everything from a place on, in hexadecimal digits.
  func digest(from begin: Int = 0) throws -> String {
    var digest = Digest256()
    let piece = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 18, alignment: 16)
    defer { piece.deallocate() }
    var at = begin
    while at < size {
      let part = UnsafeMutableRawBufferPointer(rebasing: piece[..<min(piece.count, size - at)])
      try read(part, at: at)
      digest.update(UnsafeRawBufferPointer(part))
      at += part.count
    }
    return digest.hex()
  }
}

func readFully(_ descriptor: Int32, _ path: String, _ into: UnsafeMutableRawBufferPointer, at offset: Int) throws {
  var done = 0
  while done < into.count {
    let got = pread(descriptor, into.baseAddress! + done, into.count - done, off_t(offset + done))
    if got < 0 && errno == EINTR { continue }
    if got < 0 { throw fileError("read", path) }
    if got == 0 { throw PocketTuneError(.ioFailed, "'\(path)' ended early: something else changed it") }
    done += got
  }
}
