// What the process occupies, as the kernel counts it.
#pragma once
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string_view>
#include <thread>

namespace pockettune {

/// A line of /proc/self/<file> ("status", "smaps_rollup") in bytes; 0 when there is none.
uint64_t process_bytes(const char* file, std::string_view line);

/// Samples the proportional set size, in which a file page that two mappings hold counts once,
/// while it lives. The pause is 50 ms, or 20 times what a sample took: counting pages must not slow
/// down what is measured.
class MemorySampler {
 public:
  MemorySampler();
  ~MemorySampler();
  uint64_t peak_pss_bytes();

 private:
  void watch();
  void sample();
  std::mutex mutex_;
  std::condition_variable stopped_;
  bool stop_ = false;
  uint64_t peak_ = 0;
  std::thread thread_;
};

/// The largest resident set so far (it counts such pages twice).
inline uint64_t peak_rss_bytes() { return process_bytes("status", "VmHWM"); }

}  // namespace pockettune
