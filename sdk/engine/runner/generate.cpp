// pockettune-run generate: pictures from prompts, with an adapter or without.
#include <cstdio>

#include "arguments.h"
#include "clock.h"
#include "commands.h"
#include "denoise.h"
#include "inputs.h"
#include "memory.h"
#include "png.h"
#include "progress.h"
#include "stop.h"

namespace pockettune {
namespace {

/// Each picture's floats become a file.
void write_pictures(const Bundle& bundle, const Feed& feed, size_t count, const Path& out) {
  const Manifest& manifest = bundle.manifest();
  Executor decoder(bundle, bundle.program(bundle.generation().output_program), feed);
  for (size_t picture = 0; picture < count; picture++) {
    check_stop();
    decoder.run({.prompt = picture, .picture = picture});
    if (decoder.output().size() != uint64_t{3} * static_cast<uint64_t>(manifest.height) *
                                       static_cast<uint64_t>(manifest.width)) {
      throw Failure(code::bundle_manifest_invalid,
                    "the picture's size is not the manifest's: export the bundle again");
    }
    char name[48];
    std::snprintf(name, sizeof name, "picture-%04zu.png", picture);
    const Path path = out / name;
    write_png(path, decoder.output(), static_cast<uint32_t>(manifest.height),
              static_cast<uint32_t>(manifest.width));
    emit({{"event", "picture"}, {"picture", picture}, {"path", path.string()}});
  }
}

}  // namespace

void generate(std::span<char*> words) {
  const Arguments arguments(
      words, {"bundle", "inputs", "out", "adapter", "steps", "guidance", "seed", "threads"});
  const Path out = arguments.path("out");
  const Path inputs_path = arguments.path("inputs");
  const std::optional<Path> adapter = arguments.optional_path("adapter");
  const std::optional<double> guidance = arguments.real("guidance", 0, 1000);
  MemorySampler memory;
  const Bundle bundle(arguments.path("bundle"));
  const Manifest& manifest = bundle.manifest();
  require_text_to_image(manifest);
  start_engine(bundle, arguments.threads());

  DenoiseSettings settings{arguments.seed(), bundle.generation().steps, bundle.generation().hyper};
  settings.steps =
      arguments.whole("steps", 1, bundle.generation().train_timesteps).value_or(settings.steps);
  if (guidance) settings.hyper["guidance"] = *guidance;

  const SafetensorsFile inputs(inputs_path);
  Batch batch{read_prompts(inputs, "input_ids", 0, manifest.max_length)};
  std::vector<uint64_t> prompts(batch.prompts.size());
  for (size_t i = 0; i < prompts.size(); i++) prompts[i] = i;
  batch.prompts.push_back(manifest.unconditional_ids);

  std::set<std::string> names = state_of_generation(bundle);
  names.insert(manifest.adapter);
  State state(bundle, names);
  if (adapter) read_adapter(*adapter, bundle, state.writable(manifest.adapter));
  make_folder(out);

  MemoryCache caches;
  const std::vector<double> seconds = denoise_pictures(bundle, settings, batch, prompts, state,
                                                       caches, [&](uint64_t picture, int64_t step) {
                                                         emit({{"event", "denoise"},
                                                               {"picture", size_t{picture}},
                                                               {"step", step + 1},
                                                               {"of", settings.steps}});
                                                       });
  write_pictures(bundle, {settings.seed, settings.hyper, batch, state, caches}, prompts.size(),
                 out);
  emit({{"event", "done"},
        {"peak_pss_bytes", size_t{memory.peak_pss_bytes()}},
        {"peak_rss_bytes", size_t{peak_rss_bytes()}},
        {"seconds_per_step", median(seconds)}});
}

}  // namespace pockettune
