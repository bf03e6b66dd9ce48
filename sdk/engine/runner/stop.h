// Stopping on SIGINT and SIGTERM, between two runs of a program.
#pragma once

namespace pockettune {

void watch_stop_signals();
bool stop_requested();
/// Raises interrupted when a signal came.
void check_stop();

}  // namespace pockettune
