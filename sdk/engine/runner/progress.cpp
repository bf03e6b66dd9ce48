#include "progress.h"

#include <cstdio>

namespace pockettune {

void emit(Json::Object event) {
  const std::string line = Json(std::move(event)).dump() + "\n";
  // A reader that went away is no reason to stop: the files are what counts.
  std::fwrite(line.data(), 1, line.size(), stdout);
  std::fflush(stdout);
}

}  // namespace pockettune
