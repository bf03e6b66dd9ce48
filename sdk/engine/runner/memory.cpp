#include "memory.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <new>
#include <string>

#include "clock.h"

namespace pockettune {

uint64_t process_bytes(const char* file, std::string_view line) {
  std::ifstream in(std::string("/proc/self/") + file);
  for (std::string text; std::getline(in, text);) {
    if (text.starts_with(line) && text.size() > line.size() && text[line.size()] == ':') {
      return std::strtoull(text.c_str() + line.size() + 1, nullptr, 10) * 1024;
    }
  }
  return 0;
}

MemorySampler::MemorySampler() : thread_([this] { watch(); }) {}

MemorySampler::~MemorySampler() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  stopped_.notify_all();
  thread_.join();
}

void MemorySampler::sample() {
  const uint64_t pss = process_bytes("smaps_rollup", "Pss");
  const std::lock_guard lock(mutex_);
  peak_ = std::max(peak_, pss);
}

void MemorySampler::watch() {
  for (bool stop = false; !stop;) {
    const Stopwatch watch;
    try {
      sample();
    } catch (const std::bad_alloc&) {
      // This thread only looks: the one that works says what memory it lacks.
    }
    const std::chrono::duration<double> pause(std::max(0.05, 20 * watch.seconds()));
    std::unique_lock lock(mutex_);
    stop = stopped_.wait_for(lock, pause, [this] { return stop_; });
  }
}

uint64_t MemorySampler::peak_pss_bytes() {
  sample();
  const std::lock_guard lock(mutex_);
  return peak_;
}

}  // namespace pockettune
