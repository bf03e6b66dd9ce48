#include "denoise.h"

#include "clock.h"
#include "random.h"
#include "stop.h"

namespace pockettune {
namespace {

void draw_first_latents(const Bundle& bundle, uint64_t seed, uint64_t picture,
                        MemoryCache& caches) {
  const std::string& name = picture_cache(bundle);
  const Cache& cache = bundle.manifest().caches.at(name);
  Buffer noise(cache.bytes());
  random_normal({seed, *cache.initial_stream, picture}, noise.as<float>());
  Buffer stored(cache.stored_bytes());
  convert(noise.bytes(), cache.dtype, stored.bytes(), cache.stored);
  caches.write(name, picture, stored.bytes());
}

}  // namespace

const std::string& picture_cache(const Bundle& bundle) {
  const std::string* found = nullptr;
  for (const Argument& output : bundle.program(bundle.generation().step_program).outputs) {
    if (output.binding.kind != BindingKind::cache) continue;
    const Cache& cache = bundle.manifest().caches.at(output.binding.name);
    if (found || cache.scope != Scope::picture || !cache.initial_stream ||
        cache.dtype != DType::float32) {
      found = nullptr;
      break;
    }
    found = &output.binding.name;
  }
  if (!found) {
    throw Failure(code::bundle_manifest_invalid,
                  "the generation step must update one float32 cache of scope picture that begins "
                  "as random.normal: "
                  "export the bundle again");
  }
  return *found;
}

std::set<std::string> state_of_generation(const Bundle& bundle) {
  const Generation& generation = bundle.generation();
  std::set<std::string> names;
  for (const std::string* program :
       {&generation.prompt_program, &generation.step_program, &generation.output_program})
    names.merge(state_of(bundle.program(*program)));
  return names;
}

std::vector<double> denoise_pictures(const Bundle& bundle, const DenoiseSettings& settings,
                                     const Batch& batch, const std::vector<uint64_t>& prompts,
                                     State& state, MemoryCache& caches, const OnDenoise& on_step) {
  const Generation& generation = bundle.generation();
  if (settings.steps > generation.train_timesteps) {
    throw Failure(code::bundle_manifest_invalid,
                  "generation has " + std::to_string(settings.steps) + " steps, more than its " +
                      std::to_string(generation.train_timesteps) +
                      " timesteps: export the bundle again");
  }
  const Feed feed{settings.seed, settings.hyper, batch, state, caches};
  const uint64_t unconditional = batch.prompts.size() - 1;
  {
    Executor encoder(bundle, bundle.program(generation.prompt_program), feed);
    std::set<uint64_t> needed(prompts.begin(), prompts.end());
    needed.insert(unconditional);
    for (const uint64_t prompt : needed) encoder.run({.prompt = prompt});
  }
  Executor step(bundle, bundle.program(generation.step_program), feed);
  const std::vector<Timestep> timesteps = sampler_timesteps(
      generation.spacing, generation.train_timesteps, settings.steps, generation.steps_offset);
  std::vector<double> seconds;
  for (uint64_t picture = 0; picture < prompts.size(); picture++) {
    draw_first_latents(bundle, settings.seed, picture, caches);
    Item item{.prompt = prompts[picture], .unconditional = unconditional, .picture = picture};
    for (size_t i = 0; i < timesteps.size(); i++) {
      check_stop();
      on_step(picture, static_cast<int64_t>(i));
      item.timestep = timesteps[i];
      const Stopwatch watch;
      step.run(item);
      seconds.push_back(watch.seconds());
    }
  }
  return seconds;
}

}  // namespace pockettune
