// What programs hand to one another: one value per cache and item, in the cache's stored type
// (spec/bundle.md, 3).
#pragma once
#include <memory>
#include <utility>

#include "bundle.h"
#include "safetensors.h"

namespace pockettune {

class CacheStore {
 public:
  virtual ~CacheStore() = default;
  virtual void read(const std::string& cache, uint64_t item, std::span<std::byte> stored) const = 0;
  virtual void write(const std::string& cache, uint64_t item,
                     std::span<const std::byte> stored) = 0;
};

/// Values in memory, for generation.
class MemoryCache : public CacheStore {
 public:
  void read(const std::string& cache, uint64_t item, std::span<std::byte> stored) const override;
  void write(const std::string& cache, uint64_t item, std::span<const std::byte> stored) override;
  void forget(const std::string& cache) { values_.erase(cache); }

 private:
  Named<std::map<uint64_t, std::vector<std::byte>>> values_;
};

/// How many items each scope has.
using ItemCounts = std::map<Scope, uint64_t>;

/// Values in one file: a safetensors file with one tensor [items, ...] per cache, whose metadata
/// holds the identity of the run and the data's hash. It is complete under its name, or absent.
class CacheFile : public CacheStore {
 public:
  /// Opens a complete file of that identity; when there is none, or it is damaged, begins a new
  /// one. Raises state_mismatch when it is whole but belongs to another run, disk_full when there
  /// is no room.
  CacheFile(const Path& path, const Manifest& manifest, const std::vector<std::string>& caches,
            const ItemCounts& counts, const Metadata& identity);

  bool is_complete() const { return complete_ != nullptr; }
  /// Ends the writing: hashes what was written, and gives the file its name.
  void finish();

  void read(const std::string& cache, uint64_t item, std::span<std::byte> stored) const override;
  void write(const std::string& cache, uint64_t item, std::span<const std::byte> stored) override;

 private:
  bool open_complete();
  uint64_t offset_of(const std::string& cache, uint64_t item, size_t bytes) const;
  std::string header(const std::string& digest) const;

  Path path_;
  Metadata identity_;
  Named<SafetensorsEntry> entries_;
  std::unique_ptr<SafetensorsFile> complete_;
  std::unique_ptr<AtomicFile> growing_;
  uint64_t data_begin_ = 0;
  uint64_t data_bytes_ = 0;
};

/// Raises state_mismatch unless `found` has every setting of `wanted`; says which differ, what they
/// were and are, and what to run instead.
void check_identity(const Metadata& found, const Metadata& wanted, const Path& path);

}  // namespace pockettune
