// Preparation: what the frozen net says about every photo, prompt and sample, computed once before
// training.
#include "denoise.h"
#include "personalization.h"
#include "progress.h"
#include "stop.h"

namespace pockettune {
namespace {

/// The scope that all outputs of a program share.
Scope output_scope(const Bundle& bundle, const Program& program) {
  std::optional<Scope> scope;
  for (const Argument& output : program.outputs) {
    if (output.binding.kind != BindingKind::cache) continue;
    const Scope found = bundle.manifest().caches.at(output.binding.name).scope;
    if (scope && *scope != found) scope = Scope::picture;
    if (!scope) scope = found;
  }
  if (!scope || *scope == Scope::picture) {
    throw Failure(code::bundle_manifest_invalid,
                  "preparation program '" + program.name +
                      "' must fill caches of one scope: prompt, photo or sample; "
                      "export the bundle again");
  }
  return *scope;
}

/// Caches that the preparation's programs fill, each once.
std::vector<std::string> prepared_caches(const Bundle& bundle) {
  std::set<std::string> names;
  for (const std::string& name : bundle.manifest().preparation) {
    const Program& program = bundle.program(name);
    output_scope(bundle, program);  // refuses what no training item counts
    for (const Argument& output : program.outputs) {
      if (output.binding.kind == BindingKind::cache) names.insert(output.binding.name);
    }
  }
  return {names.begin(), names.end()};
}

/// The cache of photos that holds what the generation's picture cache holds: latents.
std::string photo_latents(const Bundle& bundle, const std::vector<std::string>& caches) {
  const Cache& picture = bundle.manifest().caches.at(picture_cache(bundle));
  std::string found;
  for (const std::string& name : caches) {
    const Cache& cache = bundle.manifest().caches.at(name);
    if (cache.scope != Scope::photo || cache.shape != picture.shape || cache.dtype != picture.dtype)
      continue;
    if (!found.empty()) {
      found.clear();
      break;
    }
    found = name;
  }
  if (found.empty()) {
    throw Failure(code::config_invalid,
                  "this bundle has no single cache for the latents of class pictures: train "
                  "without --prior-weight");
  }
  return found;
}

/// Class pictures are made by the net itself, before it learns; their latents stand behind the
/// photos'.
void make_class_pictures(const Bundle& bundle, const PersonalizationSettings& settings,
                         const Batch& batch, uint64_t photos,
                         const std::vector<std::string>& prepared, CacheFile& caches) {
  const std::string target = photo_latents(bundle, prepared);
  const Generation& generation = bundle.generation();
  const DenoiseSettings denoise{settings.seed, generation.steps, generation.hyper};
  const std::vector<uint64_t> prompts(static_cast<size_t>(settings.class_pictures), 1);
  State state(bundle, state_of_generation(bundle));
  MemoryCache pictures;
  denoise_pictures(bundle, denoise, batch, prompts, state, pictures,
                   [&](uint64_t picture, int64_t step) {
                     emit({{"event", "prepare"},
                           {"program", generation.step_program},
                           {"done", static_cast<int64_t>(picture) * generation.steps + step},
                           {"of", settings.class_pictures * generation.steps}});
                   });
  const Cache& from = bundle.manifest().caches.at(picture_cache(bundle));
  const Cache& to = bundle.manifest().caches.at(target);
  Buffer picture(from.stored_bytes());
  Buffer full(from.bytes());
  Buffer stored(to.stored_bytes());
  for (uint64_t i = 0; i < prompts.size(); i++) {
    pictures.read(picture_cache(bundle), i, picture.bytes());
    convert(picture.bytes(), from.stored, full.bytes(), from.dtype);
    convert(full.bytes(), to.dtype, stored.bytes(), to.stored);
    caches.write(target, photos + i, stored.bytes());
  }
}

}  // namespace

Item training_item(uint64_t sample, uint64_t photos, const PersonalizationSettings& settings) {
  if (settings.class_pictures == 0) return {.photo = sample % photos, .sample = sample};
  const auto class_pictures = static_cast<uint64_t>(settings.class_pictures);
  if (sample % 2 == 0) return {.photo = sample / 2 % photos, .sample = sample};
  return {.prompt = 1,
          .photo = photos + sample / 2 % class_pictures,
          .sample = sample,
          .weight = static_cast<float>(settings.prior_weight)};
}

CacheFile prepare(const Bundle& bundle, const PersonalizationSettings& settings, const Batch& batch,
                  uint64_t photos, const Path& work, const Metadata& identity) {
  const auto samples = static_cast<uint64_t>(settings.samples);
  const auto class_pictures = static_cast<uint64_t>(settings.class_pictures);
  const uint64_t prompts = class_pictures ? 2 : 1;
  const std::vector<std::string> names = prepared_caches(bundle);
  CacheFile caches(
      work / "cache.bin", bundle.manifest(), names,
      {{Scope::prompt, prompts}, {Scope::photo, photos + class_pictures}, {Scope::sample, samples}},
      identity);
  if (caches.is_complete()) return caches;
  if (class_pictures) make_class_pictures(bundle, settings, batch, photos, names, caches);

  std::set<std::string> state_names;
  for (const std::string& name : bundle.manifest().preparation)
    state_names.merge(state_of(bundle.program(name)));
  State state(bundle, state_names);
  for (const std::string& name : bundle.manifest().preparation) {
    const Program& program = bundle.program(name);
    const Scope scope = output_scope(bundle, program);
    const uint64_t items = scope == Scope::prompt  ? prompts
                           : scope == Scope::photo ? photos
                                                   : samples;
    Executor executor(bundle, program, {settings.seed, settings.hyper, batch, state, caches});
    for (uint64_t i = 0; i < items; i++) {
      check_stop();
      executor.run(scope == Scope::sample   ? training_item(i, photos, settings)
                   : scope == Scope::prompt ? Item{.prompt = i}
                                            : Item{.photo = i});
      emit({{"event", "prepare"},
            {"program", name},
            {"done", size_t{i + 1}},
            {"of", size_t{items}}});
    }
  }
  caches.finish();
  return caches;
}

}  // namespace pockettune
