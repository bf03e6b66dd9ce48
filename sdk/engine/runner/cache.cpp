#include "cache.h"

#include <algorithm>
#include <array>
#include <stdexcept>

#include "sha256.h"

namespace pockettune {
namespace {

constexpr std::string_view digest_key = "sha256";
constexpr const char* unknown = "none";

/// What makes a setting what it was; "" when it came with the bundle, or was not told.
std::string remedy(const std::string& key, const std::string& before, bool steps_are_known) {
  if (key == "bundle_id") return "the same --bundle";
  if (key == "inputs_sha256") return "the same --inputs";
  if (key == "state_sha256") return before.empty() ? "no --state" : "the same --state";
  if (key == "engine" && before != unknown) return "an SDK by " + before;
  constexpr std::array<std::string_view, 8> options{"class_pictures", "client", "learning_rate",
                                                    "prior_weight",   "round",  "samples",
                                                    "seed",           "steps"};
  if (std::find(options.begin(), options.end(), key) == options.end()) return "";
  std::string text = "--" + key + " " + before;
  std::replace(text.begin(), text.end(), '_', '-');
  // There are never more samples than steps.
  if (key == "samples" && !steps_are_known) text += " and at least as many --steps";
  return text;
}

/// Digests are long, and their beginning tells them apart.
std::string shortened(const std::string& value) {
  if (value.empty()) return unknown;
  return value.size() > 24 ? value.substr(0, 12) + "..." : value;
}

void append(std::string& list, const std::string& item) {
  if (!list.empty() && !item.empty()) list += ", ";
  list += item;
}

}  // namespace

void MemoryCache::read(const std::string& cache, uint64_t item, std::span<std::byte> stored) const {
  const auto values = values_.find(cache);
  if (values == values_.end() || !values->second.contains(item)) {
    throw Failure(code::bundle_manifest_invalid,
                  "no program of the bundle fills the cache '" + cache +
                      "' before it is needed: export the bundle again");
  }
  const std::vector<std::byte>& value = values->second.at(item);
  if (value.size() != stored.size()) throw std::logic_error("a cache value changed its size");
  std::copy(value.begin(), value.end(), stored.begin());
}

void MemoryCache::write(const std::string& cache, uint64_t item,
                        std::span<const std::byte> stored) {
  values_[cache][item].assign(stored.begin(), stored.end());
}

void check_identity(const Metadata& found, const Metadata& wanted, const Path& path) {
  const auto value_of = [](const Metadata& metadata, const std::string& key) {
    const auto entry = metadata.find(key);
    return entry == metadata.end() ? unknown : entry->second;
  };
  const bool other_steps = value_of(found, "steps") != value_of(wanted, "steps");
  std::string differences;
  std::string remedies;
  for (const auto& [key, now] : wanted) {
    const std::string before = value_of(found, key);
    if (before == now) continue;
    append(differences, key + " was " + shortened(before) + " and is " + shortened(now));
    // Samples that shrank with the steps will grow with them, too.
    const bool follows = key == "samples" && other_steps && now == value_of(wanted, "steps");
    if (!follows) append(remedies, remedy(key, before, wanted.contains("steps")));
  }
  if (differences.empty()) return;
  if (!remedies.empty()) remedies = "go on with " + remedies + ", or ";
  throw Failure(code::state_mismatch, "'" + path.string() + "' is of another run: " + differences +
                                          "; " + remedies + "begin anew in another --out folder");
}

CacheFile::CacheFile(const Path& path, const Manifest& manifest,
                     const std::vector<std::string>& caches, const ItemCounts& counts,
                     const Metadata& identity)
    : path_(path), identity_(identity) {
  for (const std::string& name : caches) {
    const Cache& cache = manifest.caches.at(name);
    const uint64_t items = counts.at(cache.scope);
    if (cache.shape.size() == max_rank) {
      throw Failure(code::bundle_manifest_invalid,
                    "the cache '" + name + "' has " + std::to_string(max_rank) +
                        " dimensions, and its file needs one more for the items: export the "
                        "bundle again");
    }
    Shape shape{static_cast<int64_t>(items)};
    shape.insert(shape.end(), cache.shape.begin(), cache.shape.end());
    uint64_t bytes = 0;
    if (__builtin_mul_overflow(items, cache.stored_bytes(), &bytes) || bytes > uint64_t{1} << 42) {
      throw Failure(code::config_invalid,
                    "the cache '" + name + "' would be too large: use fewer samples");
    }
    entries_.emplace(name,
                     SafetensorsEntry{name, cache.stored, shape, data_bytes_, data_bytes_ + bytes});
    data_bytes_ += bytes;
  }
  if (open_complete()) return;
  growing_ = std::make_unique<AtomicFile>(path_);
  const std::string text = header(std::string(64, '0'));
  data_begin_ = text.size();
  growing_->reserve(data_begin_ + data_bytes_);
  growing_->append(text);
}

bool CacheFile::open_complete() {
  if (!std::filesystem::exists(path_)) return false;
  try {
    auto file = std::make_unique<SafetensorsFile>(path_);
    const Metadata& metadata = file->metadata();
    const auto digest = metadata.find(std::string(digest_key));
    if (digest == metadata.end() || digest->second != file->data_sha256()) return false;
    check_identity(metadata, identity_, path_);
    for (const auto& [name, entry] : entries_) file->require(name, entry.dtype, entry.shape);
    complete_ = std::move(file);
    return true;
  } catch (const Failure& failure) {
    // A damaged cache is made again: the same values come out.
    if (failure.code().name == code::safetensors_invalid.name) return false;
    throw;
  }
}

std::string CacheFile::header(const std::string& digest) const {
  Metadata metadata = identity_;
  metadata[std::string(digest_key)] = digest;
  std::vector<SafetensorsEntry> entries;
  for (const auto& [name, entry] : entries_) entries.push_back(entry);
  return safetensors_header(entries, metadata);
}

void CacheFile::finish() {
  Sha256 hash;
  std::vector<std::byte> bytes(size_t{1} << 18);
  for (uint64_t at = 0; at < data_bytes_;) {
    const std::span part =
        std::span(bytes).first(std::min<uint64_t>(bytes.size(), data_bytes_ - at));
    growing_->read_at(data_begin_ + at, part);
    hash.update(part);
    at += part.size();
  }
  growing_->write_at(0, as_bytes(header(hash.hex())));
  growing_->commit();
  growing_.reset();
  complete_ = std::make_unique<SafetensorsFile>(path_);
}

uint64_t CacheFile::offset_of(const std::string& cache, uint64_t item, size_t bytes) const {
  const auto found = entries_.find(cache);
  if (found == entries_.end()) {
    throw Failure(code::bundle_manifest_invalid, "no program in preparation fills the cache '" +
                                                     cache + "': export the bundle again");
  }
  const SafetensorsEntry& entry = found->second;
  const uint64_t offset = entry.begin + item * bytes;
  if (offset + bytes > entry.end) throw std::out_of_range("an item past the cache's end");
  return offset;
}

void CacheFile::read(const std::string& cache, uint64_t item, std::span<std::byte> stored) const {
  const uint64_t offset = offset_of(cache, item, stored.size());
  if (growing_) return growing_->read_at(data_begin_ + offset, stored);
  complete_->read(*complete_->find(cache), stored, offset - entries_.at(cache).begin);
}

void CacheFile::write(const std::string& cache, uint64_t item, std::span<const std::byte> stored) {
  growing_->write_at(data_begin_ + offset_of(cache, item, stored.size()), stored);
}

}  // namespace pockettune
