#include "files.h"

#include <fcntl.h>
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

}  // namespace

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
  descriptor_ = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor_ < 0) throw file_failure("cannot open", path);
  struct stat status{};
  const bool failed = fstat(descriptor_, &status) != 0;
  if (failed || !S_ISREG(status.st_mode)) {
    close(descriptor_);
    throw failed ? file_failure("cannot read", path)
                 : Failure(code::io_failed, "'" + path.string() + "' is not a regular file");
  }
  size_ = static_cast<uint64_t>(status.st_size);
}

ReadFile::~ReadFile() {
  if (descriptor_ >= 0) close(descriptor_);
}

ReadFile::ReadFile(ReadFile&& other) noexcept
    : path_(std::move(other.path_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      size_(other.size_) {}

void ReadFile::read(uint64_t offset, std::span<std::byte> into) const {
  read_fully(descriptor_, path_, offset, into);
}

std::string ReadFile::sha256_from(uint64_t offset) const {
  Sha256 hash;
  std::vector<std::byte> bytes(piece);
  while (offset < size_) {
    const std::span part = std::span(bytes).first(std::min<uint64_t>(piece, size_ - offset));
    read(offset, part);
    hash.update(part);
    offset += part.size();
  }
  return hash.hex();
}

AtomicFile::AtomicFile(const Path& path)
    : path_(path), temporary_(path.string() + std::string(temporary_ending)) {
  descriptor_ = open(temporary_.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (descriptor_ < 0) throw file_failure("cannot create", temporary_);
}

AtomicFile::~AtomicFile() {
  if (descriptor_ < 0) return;
  close(descriptor_);
  unlink(temporary_.c_str());
}

void AtomicFile::reserve(uint64_t bytes) {
  if (bytes == 0) return;
  const int error = posix_fallocate(descriptor_, 0, static_cast<off_t>(bytes));
  errno = error;
  if (error) throw file_failure("cannot write", path_);
}

void AtomicFile::append(std::span<const std::byte> bytes) { write_at(end_, bytes); }

void AtomicFile::append(std::string_view text) { append(as_bytes(text)); }

void AtomicFile::write_at(uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t put = pwrite(descriptor_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) throw file_failure("cannot write", path_);
    offset += static_cast<uint64_t>(put);
    bytes = bytes.subspan(static_cast<size_t>(put));
  }
  end_ = std::max(end_, offset);
}

void AtomicFile::read_at(uint64_t offset, std::span<std::byte> into) const {
  read_fully(descriptor_, temporary_, offset, into);
}

void AtomicFile::commit() {
  if (fsync(descriptor_) != 0) throw file_failure("cannot write", path_);
  const int closed = close(std::exchange(descriptor_, -1));
  if (closed != 0 || rename(temporary_.c_str(), path_.c_str()) != 0) {
    const Failure failure = file_failure("cannot write", path_);
    unlink(temporary_.c_str());
    throw failure;
  }
  sync_folder(path_.has_parent_path() ? path_.parent_path() : Path("."));
}

void write_file(const Path& path, std::string_view text) {
  AtomicFile file(path);
  file.append(text);
  file.commit();
}

void make_folder(const Path& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (!std::filesystem::is_directory(path)) {
    errno = error ? error.value() : ENOTDIR;
    throw file_failure("cannot create the folder", path);
  }
}

void remove_file(const Path& path) {
  if (unlink(path.c_str()) != 0 && errno != ENOENT) throw file_failure("cannot remove", path);
}

}  // namespace pockettune
