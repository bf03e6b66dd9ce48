// What every training run does: hold its folder, go through its steps, save, and look at the
// result.
#pragma once
#include <functional>
#include <initializer_list>

#include "checkpoint.h"
#include "executor.h"

namespace pockettune {

/// One run at a time in a folder; the lock goes with the process, however it ends.
class FolderLock {
 public:
  explicit FolderLock(const Path& folder);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int descriptor_;
};

/// Removes what a killed run left half-written: in the work folder, which is ours alone, anything;
/// in the folder of the results, which may hold other people's files, those named.
void remove_temporary_files(const Path& out, const Path& work,
                            std::initializer_list<std::string_view> results);

struct Steps {
  int64_t first;
  int64_t end;
  int64_t checkpoint_every;
};

/// Trains from the first step to the end; `item` says what a step is about, and prepares its batch.
/// Gives the seconds of every step. Raises interrupted and loss_not_finite.
std::vector<double> train_steps(Executor& program, const std::function<Item(int64_t)>& item,
                                const Steps& steps, const Checkpoints& checkpoints,
                                const State& state, std::vector<float>& losses);

/// L2 norm of the change of a trained tensor; `what` is its name for people. Raises
/// adapter_unchanged, loss_not_finite.
double change_since(const Buffer& before, std::span<const std::byte> after,
                    const std::string& what);

Buffer copy_of(std::span<const std::byte> bytes);

}  // namespace pockettune
