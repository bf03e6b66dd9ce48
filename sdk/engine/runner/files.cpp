#include "files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "sha256.h"

namespace pockettune {
namespace {

constexpr size_t piece = size_t{1} << 18;

void read_fully(int descriptor, const Path& path, uint64_t offset, std::span<std::byte> into) {
  while (!into.empty()) {
    const ssize_t got = pread(descriptor, into.data(), into.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw file_failure("cannot read", path);
    if (got == 0) {
      throw Failure(code::io_failed,
                    "'" + path.string() + "' ended early: something else changed it");
    }
    offset += static_cast<uint64_t>(got);
    into = into.subspan(static_cast<size_t>(got));
  }
}

void sync_folder(const Path& folder) {
  const int descriptor = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) throw file_failure("cannot open", folder);
  // Some file systems cannot sync a folder (EINVAL); there the rename is all that can be done.
  const bool failed = fsync(descriptor) != 0 && errno != EINVAL;
  const int error = errno;
  close(descriptor);
  errno = error;
  if (failed) throw file_failure("cannot sync", folder);
}

/// Opens the temporary file, empty, for this process alone. What a killed run left is taken over;
/// a link is not followed.
int open_temporary(const Path& path) {
  while (true) {
    const int descriptor = open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (descriptor < 0) throw file_failure("cannot create", path);
    const bool taken = !try_lock(descriptor);
    struct stat opened{};
    struct stat named{};
    const bool same = fstat(descriptor, &opened) == 0 && lstat(path.c_str(), &named) == 0 &&
                      opened.st_dev == named.st_dev && opened.st_ino == named.st_ino;
    if (!taken && same && ftruncate(descriptor, 0) == 0) return descriptor;
    const Failure failure = file_failure("cannot write", path);
    close(descriptor);
    if (taken) {
      throw Failure(code::io_failed, "another run is writing '" + path.string() +
                                         "': wait for it, or use another name");
    }
    // Between opening and locking, its writer may have finished and renamed it: there is room now.
    if (same) throw failure;
  }
}

Path folder_of(const Path& path) { return path.has_parent_path() ? path.parent_path() : Path("."); }

}  // namespace

bool try_lock(int descriptor) {
#ifdef F_OFD_SETLK
  // The open file's own lock, which ends with it as flock's does, but which also excludes those of
  // Java: fcntl's, which flock does not see on Linux.
  struct flock whole{};
  whole.l_type = F_WRLCK;
  whole.l_whence = SEEK_SET;
  return fcntl(descriptor, F_OFD_SETLK, &whole) == 0 || (errno != EAGAIN && errno != EACCES);
#else
  return flock(descriptor, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK;
#endif
}

Failure file_failure(const std::string& what, const Path& path) {
  const int error = errno;
  const std::string name = "'" + path.string() + "'";
  if (error == ENOSPC || error == EDQUOT || error == EFBIG) {
    return {code::disk_full,
            "no room left for " + name + ": free some space and run the same command again"};
  }
  return {code::io_failed, what + " " + name + ": " + std::strerror(error)};
}

ReadFile::ReadFile(const Path& path) : path_(path) {
  // Without O_NONBLOCK, opening a named pipe would wait for its writer, forever.
  descriptor_ = open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (descriptor_ < 0) throw file_failure("cannot open", path);
  struct stat status{};
  const bool failed = fstat(descriptor_, &status) != 0;
  if (failed || !S_ISREG(status.st_mode)) {
    close(descriptor_);
    throw failed ? file_failure("cannot read", path)
                 : Failure(code::io_failed, "'" + path.string() + "' is not a regular file");
  }
  const auto nanoseconds = [](const timespec& time) {
    return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
  };
  stamp_ = {status.st_dev, status.st_ino, static_cast<uint64_t>(status.st_size),
            nanoseconds(status.st_mtim), nanoseconds(status.st_ctim)};
}

ReadFile::~ReadFile() {
  if (descriptor_ >= 0) close(descriptor_);
}

ReadFile::ReadFile(ReadFile&& other) noexcept
    : path_(std::move(other.path_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      stamp_(other.stamp_) {}

void ReadFile::read(uint64_t offset, std::span<std::byte> into) const {
  read_fully(descriptor_, path_, offset, into);
}

std::string ReadFile::sha256_from(uint64_t offset) const {
  Sha256 hash;
  std::vector<std::byte> bytes(piece);
  while (offset < size()) {
    const std::span part = std::span(bytes).first(std::min<uint64_t>(piece, size() - offset));
    read(offset, part);
    hash.update(part);
    offset += part.size();
  }
  return hash.hex();
}

AtomicFile::AtomicFile(const Path& path)
    : path_(path),
      temporary_(path.string() + std::string(temporary_ending)),
      descriptor_(open_temporary(temporary_)) {}

AtomicFile::~AtomicFile() {
  if (descriptor_ < 0) return;
  unlink(temporary_.c_str());  // while the lock is held: afterwards it may be another's
  close(descriptor_);
}

void AtomicFile::reserve(uint64_t bytes) {
  if (bytes == 0) return;
  int error = EINTR;
  while (error == EINTR) error = posix_fallocate(descriptor_, 0, static_cast<off_t>(bytes));
  errno = error;
  if (error) throw file_failure("cannot write", path_);
}

void AtomicFile::append(std::span<const std::byte> bytes) { write_at(end_, bytes); }

void AtomicFile::append(std::string_view text) { append(as_bytes(text)); }

void AtomicFile::write_at(uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t put = pwrite(descriptor_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (put < 0 && errno == EINTR) continue;
    if (put == 0) errno = ENOSPC;
    if (put <= 0) throw file_failure("cannot write", path_);
    offset += static_cast<uint64_t>(put);
    bytes = bytes.subspan(static_cast<size_t>(put));
  }
  end_ = std::max(end_, offset);
}

void AtomicFile::read_at(uint64_t offset, std::span<std::byte> into) const {
  read_fully(descriptor_, temporary_, offset, into);
}

void AtomicFile::commit() {
  if (fsync(descriptor_) != 0 || rename(temporary_.c_str(), path_.c_str()) != 0)
    throw file_failure("cannot write", path_);
  close(std::exchange(descriptor_, -1));
  sync_folder(folder_of(path_));
}

void write_file(const Path& path, std::string_view text) {
  AtomicFile file(path);
  file.append(text);
  file.commit();
}

void make_folder(const Path& path) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) return;
  make_folder(folder_of(path));
  const bool made = mkdir(path.c_str(), 0777) == 0;
  if (!made && !(errno == EEXIST && std::filesystem::is_directory(path, error)))
    throw file_failure("cannot create the folder", path);
  // A folder that is lost with the power takes along whatever was synced in it.
  if (made) sync_folder(folder_of(path));
}

void remove_file(const Path& path) {
  if (unlink(path.c_str()) != 0 && errno != ENOENT) throw file_failure("cannot remove", path);
}

}  // namespace pockettune
