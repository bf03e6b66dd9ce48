// Files: bounded reads, and writes that appear under their final name complete or not at all.
#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "failure.h"

namespace pockettune {

using Path = std::filesystem::path;

/// What changes when a file is replaced or written to, as far as the file system tells.
struct FileStamp {
  uint64_t device;
  uint64_t inode;
  uint64_t size;
  int64_t modified;  // nanoseconds
  int64_t changed;
  bool operator==(const FileStamp&) const = default;
};

/// The failure for the current errno: disk_full when no room is left, else io_failed.
Failure file_failure(const std::string& what, const Path& path);

/// A file that is open for reading. Raises io_failed.
class ReadFile {
 public:
  explicit ReadFile(const Path& path);
  ~ReadFile();
  ReadFile(ReadFile&& other) noexcept;
  ReadFile& operator=(ReadFile&&) = delete;

  uint64_t size() const { return stamp_.size; }
  const FileStamp& stamp() const { return stamp_; }  // when it was opened
  const Path& path() const { return path_; }
  /// Fills `into` from byte `offset` on; raises io_failed when the file ends before that.
  void read(uint64_t offset, std::span<std::byte> into) const;
  /// SHA-256 of the bytes from `offset` to the end, read in pieces so that they never count as
  /// memory of ours.
  std::string sha256_from(uint64_t offset) const;

 private:
  Path path_;
  int descriptor_ = -1;
  FileStamp stamp_{};
};

/// A new file under a temporary name in the same folder; commit() gives it its name, otherwise it
/// goes away. One process at a time writes a name: a second one gets io_failed.
class AtomicFile {
 public:
  explicit AtomicFile(const Path& path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  /// Reserves the room, so that a full disk shows before any work is done.
  void reserve(uint64_t bytes);
  void append(std::span<const std::byte> bytes);
  void append(std::string_view text);
  void write_at(uint64_t offset, std::span<const std::byte> bytes);
  void read_at(uint64_t offset, std::span<std::byte> into) const;
  /// Syncs the file, renames it, syncs the folder.
  void commit();
  const Path& temporary() const { return temporary_; }

 private:
  Path path_;
  Path temporary_;
  int descriptor_ = -1;
  uint64_t end_ = 0;
};

/// Ending of an AtomicFile that is not committed yet.
inline constexpr std::string_view temporary_ending = ".partial";

/// Takes the lock of a file that is open for writing, for as long as it is open; false when another
/// has it, also a process of another language. A file system without locks has to do without.
bool try_lock(int descriptor);

/// Writes a small file atomically.
void write_file(const Path& path, std::string_view text);
/// Creates the folder and its parents, durably. Raises io_failed or disk_full.
void make_folder(const Path& path);
/// Removes a file if it is there. Raises io_failed.
void remove_file(const Path& path);

inline std::span<const std::byte> as_bytes(std::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

}  // namespace pockettune
