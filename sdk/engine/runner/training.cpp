#include "training.h"

#include <fcntl.h>
#include <unistd.h>

#include <cmath>

#include "clock.h"
#include "progress.h"
#include "stop.h"

namespace pockettune {

FolderLock::FolderLock(const Path& folder)
    : descriptor_(open((folder / "lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644)) {
  if (descriptor_ < 0) throw file_failure("cannot create", folder / "lock");
  if (!try_lock(descriptor_)) {
    close(descriptor_);
    throw Failure(code::io_failed, "another run uses '" + folder.string() +
                                       "': wait for it, or use another --out folder");
  }
}

FolderLock::~FolderLock() { close(descriptor_); }

void remove_temporary_files(const Path& out, const Path& work,
                            std::initializer_list<std::string_view> results) {
  for (const std::string_view name : results)
    remove_file(out / (std::string(name) + std::string(temporary_ending)));
  for (const auto& entry : std::filesystem::directory_iterator(work)) {
    if (entry.path().string().ends_with(temporary_ending)) remove_file(entry.path());
  }
}

std::vector<double> train_steps(Executor& program, const std::function<Item(int64_t)>& item,
                                const Steps& steps, const Checkpoints& checkpoints,
                                const State& state, std::vector<float>& losses) {
  std::vector<double> seconds;
  for (int64_t step = steps.first; step < steps.end; step++) {
    const Stopwatch watch;
    program.run(item(step));
    const float loss = program.loss();
    seconds.push_back(watch.seconds());
    if (!std::isfinite(loss)) {
      throw Failure(code::loss_not_finite,
                    "the loss of step " + std::to_string(step + 1) +
                        " is not finite: use a smaller --learning-rate and another --out folder");
    }
    losses[static_cast<size_t>(step)] = loss;
    const int64_t done = step + 1;
    emit({{"event", "step"},
          {"step", done},
          {"of", steps.end},
          {"loss", loss},
          {"seconds", seconds.back()}});
    const bool stop = stop_requested();
    if (stop || done % steps.checkpoint_every == 0 || done == steps.end) {
      checkpoints.save(state, losses, done);
      emit({{"event", "checkpoint"}, {"step", done}});
    }
    if (stop && done < steps.end) check_stop();
  }
  return seconds;
}

Buffer copy_of(std::span<const std::byte> bytes) {
  Buffer copy(bytes.size());
  std::copy(bytes.begin(), bytes.end(), copy.bytes().begin());
  return copy;
}

double change_since(const Buffer& before, std::span<const std::byte> bytes,
                    const std::string& what) {
  const std::span after(reinterpret_cast<const float*>(bytes.data()), bytes.size() / sizeof(float));
  double sum = 0;
  for (size_t i = 0; i < after.size(); i++) {
    const double difference =
        static_cast<double>(after[i]) - static_cast<double>(before.as<float>()[i]);
    sum += difference * difference;
  }
  if (!std::isfinite(sum)) {
    throw Failure(
        code::loss_not_finite,
        "the " + what + " is not finite: use a smaller --learning-rate and another --out folder");
  }
  if (sum == 0) {
    throw Failure(code::adapter_unchanged, "training changed nothing, so no " + what +
                                               " was written: use a larger "
                                               "--learning-rate or more --steps");
  }
  return std::sqrt(sum);
}

}  // namespace pockettune
