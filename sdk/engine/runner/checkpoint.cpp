#include "checkpoint.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <numeric>

#include "cache.h"
#include "json.h"
#include "progress.h"
#include "sha256.h"

namespace pockettune {
namespace {

constexpr std::string_view prefix = "state-";
constexpr std::string_view ending = ".safetensors";
constexpr size_t averaged = 20;

double mean(std::span<const float> losses) {
  return losses.empty() ? 0
                        : std::accumulate(losses.begin(), losses.end(), 0.0) /
                              static_cast<double>(losses.size());
}

/// True when the file is a state of that step and its data is what it was written as.
bool is_whole(const SafetensorsFile& file, int64_t step) {
  const auto has = [&](const char* key, const std::string& value) {
    const auto entry = file.metadata().find(key);
    return entry != file.metadata().end() && entry->second == value;
  };
  return has("pockettune.state", "1") && has("step", std::to_string(step)) &&
         has("sha256", file.data_sha256());
}

}  // namespace

double mean_of_first(std::span<const float> losses) {
  return mean(losses.first(std::min(averaged, losses.size())));
}
double mean_of_last(std::span<const float> losses) {
  return mean(losses.last(std::min(averaged, losses.size())));
}

Checkpoints::Checkpoints(const Bundle& bundle, const Path& work, Metadata identity)
    : bundle_(bundle), work_(work), identity_(std::move(identity)) {}

Path Checkpoints::path(int64_t step) const {
  char name[40];
  std::snprintf(name, sizeof name, "state-%08lld.safetensors", static_cast<long long>(step));
  return work_ / name;
}

std::vector<std::pair<int64_t, Path>> Checkpoints::files() const {
  std::vector<std::pair<int64_t, Path>> found;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(work_, error)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(prefix) || !name.ends_with(ending)) continue;
    const std::string_view digits =
        std::string_view(name).substr(prefix.size(), name.size() - prefix.size() - ending.size());
    int64_t step = 0;
    const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), step);
    if (result.ec == std::errc() && result.ptr == digits.data() + digits.size())
      found.emplace_back(step, entry.path());
  }
  std::sort(found.rbegin(), found.rend());
  return found;
}

void Checkpoints::save(const State& state, std::span<const float> losses, int64_t step) const {
  std::vector<TensorView> tensors = state.views(bundle_);
  tensors.push_back(
      {"losses", DType::float32, {static_cast<int64_t>(losses.size())}, std::as_bytes(losses)});
  Sha256 hash;
  for (const TensorView& tensor : tensors) hash.update(tensor.bytes);
  Metadata metadata = identity_;
  metadata["pockettune.state"] = "1";
  metadata["step"] = std::to_string(step);
  metadata["sha256"] = hash.hex();
  const std::span<const float> seen = losses.first(static_cast<size_t>(step));
  metadata["loss_first"] = Json(mean_of_first(seen)).dump();
  metadata["loss_last"] = Json(mean_of_last(seen)).dump();
  write_safetensors(path(step), tensors, metadata);
  if (!is_whole(SafetensorsFile(path(step)), step)) {
    throw Failure(code::io_failed,
                  "'" + path(step).string() +
                      "' reads back as something else than was written: check the disk");
  }
  remove_states_before(step);
}

void Checkpoints::remove_states_before(int64_t step) const {
  for (const auto& [other, file] : files()) {
    if (other < step) remove_file(file);
  }
}

int64_t Checkpoints::load(State& state, std::span<float> losses) const {
  for (const auto& [step, path] : files()) {
    try {
      const SafetensorsFile file(path);
      if (is_whole(file, step)) {
        check_identity(file.metadata(), identity_, path);
        if (step < 1 || step > static_cast<int64_t>(losses.size())) continue;
        for (const TensorView& tensor : state.views(bundle_)) {
          file.read(file.require(tensor.name, tensor.dtype, tensor.shape),
                    state.writable(tensor.name));
        }
        file.read(file.require("losses", DType::float32, {static_cast<int64_t>(losses.size())}),
                  std::as_writable_bytes(losses));
        // A run that was killed between writing this one and removing those could not do it.
        remove_states_before(step);
        return step;
      }
    } catch (const Failure& failure) {
      if (failure.code().name != code::safetensors_invalid.name) throw;
    }
    emit({{"event", "damaged"}, {"path", path.string()}});
  }
  return 0;
}

}  // namespace pockettune
