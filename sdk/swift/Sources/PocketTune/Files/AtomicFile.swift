import Foundation

#if canImport(Darwin)
  import Darwin
#else
  import Glibc
#endif

/// What a file bears behind its name until it is whole.
let temporaryEnding = ".partial"

/// A file that appears under its name complete and synced, or not at all.
///
/// `FileManager.replaceItemAt` is no way to do this: on Linux it renames backwards and loses the file.
final class AtomicFile {
  private let path: String
  private let temporary: String
  private var descriptor: Int32
  private var end = 0

  /// Begins the file; one process at a time does. What a killed one left is taken over, a link is not followed.
  init(_ path: String) throws {
    self.path = path
    temporary = path + temporaryEnding
    descriptor = try AtomicFile.openTemporary(temporary)
  }

  deinit {
    guard descriptor >= 0 else { return }
    unlink(temporary)  // while the lock is held: afterwards it may be another's
    close(descriptor)
  }

  private static func openTemporary(_ path: String) throws -> Int32 {
    while true {
      let opened = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0o644)
      guard opened >= 0 else { throw fileError("create", path) }
      let taken = !tryLock(opened)
      var status = stat()
      var named = stat()
      let same =
        fstat(opened, &status) == 0 && lstat(path, &named) == 0 && status.st_dev == named.st_dev
        && status.st_ino == named.st_ino
      if !taken && same && ftruncate(opened, 0) == 0 { return opened }
      let error = fileError("write", path)
      close(opened)
      if taken {
        throw PocketTuneError(.ioFailed, "another run is writing '\(path)': wait for it, or use another name")
      }
      // Between opening and locking, its writer may have finished and renamed it: there is room now.
      if same { throw error }
    }
  }

  /// Takes the room that the file will need, so that a full disk is noticed now.
  func reserve(_ bytes: Int) throws {
    guard bytes > 0 else { return }
    #if canImport(Darwin)
      var room = fstore_t(
        fst_flags: UInt32(F_ALLOCATEALL), fst_posmode: F_PEOFPOSMODE, fst_offset: 0, fst_length: off_t(bytes),
        fst_bytesalloc: 0)
      // A file system that cannot take room beforehand has to do without.
      let taken = fcntl(descriptor, F_PREALLOCATE, &room) == 0 || errno == ENOTSUP
      guard taken, ftruncate(descriptor, off_t(bytes)) == 0 else { throw fileError("write", path) }
    #else
      var error = EINTR
      while error == EINTR { error = posix_fallocate(descriptor, 0, off_t(bytes)) }
      guard error == 0 else { throw fileError("write", path, error) }
    #endif
  }

  func append(_ bytes: UnsafeRawBufferPointer) throws { try write(bytes, at: end) }

  func append(_ bytes: some ContiguousBytes) throws { try bytes.withUnsafeBytes { try append($0) } }

  func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws {
    var done = 0
    while done < bytes.count {
      let put = pwrite(descriptor, bytes.baseAddress! + done, bytes.count - done, off_t(offset + done))
      if put < 0 && errno == EINTR { continue }
      guard put > 0 else { throw fileError("write", path, put == 0 ? ENOSPC : errno) }
      done += put
    }
    end = max(end, offset + bytes.count)
  }

  func read(_ into: UnsafeMutableRawBufferPointer, at offset: Int) throws {
    try readFully(descriptor, temporary, into, at: offset)
  }

  /// Syncs the file, gives it its name over an older one, and syncs the folder.
  func commit() throws {
    try syncFile(descriptor, temporary)
    guard rename(temporary, path) == 0 else { throw fileError("write", path) }
    close(descriptor)
    descriptor = -1
    try syncFolder(folderOf(path))
  }
}

func folderOf(_ path: String) -> String {
  let folder = (path as NSString).deletingLastPathComponent
  return folder.isEmpty ? "." : folder
}

func syncFile(_ descriptor: Int32, _ path: String) throws {
  #if canImport(Darwin)
    // fsync there only hands the bytes to the drive.
    if fcntl(descriptor, F_FULLFSYNC) == 0 { return }
  #endif
  guard fsync(descriptor) == 0 else { throw fileError("sync", path) }
}

func syncFolder(_ path: String) throws {
  let descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
  guard descriptor >= 0 else { throw fileError("open", path) }
  defer { close(descriptor) }
  // Some file systems cannot sync a folder (EINVAL); there the rename is all that can be done.
  if fsync(descriptor) != 0 && errno != EINVAL { throw fileError("sync", path) }
}

/// Writes a small file whole.
func writeFile(_ path: String, _ bytes: some ContiguousBytes) throws {
  let file = try AtomicFile(path)
  try file.append(bytes)
  try file.commit()
}

/// Makes a folder and those above it, durably: one that is lost with the power takes along whatever was synced in it.
func makeFolder(_ path: String) throws {
  var status = stat()
  if stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR { return }
  try makeFolder(folderOf(path))
  guard mkdir(path, 0o777) == 0 else {
    let number = errno
    if number == EEXIST && stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR { return }
    throw fileError("create the folder", path, number)
  }
  try syncFolder(folderOf(path))
}

/// Removes a file, if it is there.
func removeFile(_ path: String) throws {
  if unlink(path) != 0 && errno != ENOENT { throw fileError("remove", path) }
}

/// Names in a folder, sorted; none when it is not there. Throws `ioFailed` when it cannot be read: what is saved in it
/// must not be taken for lost.
func namesIn(_ folder: String) throws -> [String] {
  do {
    return try FileManager.default.contentsOfDirectory(atPath: folder).sorted { Name($0) < Name($1) }
  } catch {
    if access(folder, F_OK) != 0 && errno == ENOENT { return [] }
    throw PocketTuneError(.ioFailed, "cannot read the folder '\(folder)': \(error.localizedDescription)")
  }
}
