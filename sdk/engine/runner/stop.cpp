#include "stop.h"

#include <csignal>

#include "failure.h"

namespace pockettune {
namespace {

volatile std::sig_atomic_t stop = 0;

}  // namespace

void watch_stop_signals() {
  const auto request = [](int) { stop = 1; };
  std::signal(SIGINT, request);
  std::signal(SIGTERM, request);
  // These would end the process without a sentence: writing then fails with an error instead.
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
}

bool stop_requested() { return stop != 0; }

void check_stop() {
  if (stop)
    throw Failure(code::interrupted, "stopped by a signal: run the same command again to go on");
}

}  // namespace pockettune
