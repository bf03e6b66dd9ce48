// pockettune-run verify: is every byte of a bundle what its manifest says?
#include "arguments.h"
#include "bundle.h"
#include "commands.h"
#include "progress.h"

namespace pockettune {

void verify(std::span<char*> words) {
  const Arguments arguments(words, {"bundle"});
  const Bundle bundle(arguments.path("bundle"));
  const Manifest& manifest = bundle.manifest();
  size_t bytes = 0;
  for (const auto& [name, file] : manifest.files) bytes += file.bytes;
  emit({{"event", "verified"},
        {"bundle_id", manifest.bundle_id},
        {"files", manifest.files.size()},
        {"bytes", bytes}});
}

}  // namespace pockettune
