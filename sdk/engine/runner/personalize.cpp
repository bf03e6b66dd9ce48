// pockettune-run personalize: prepare, train, write the adapter; stop anywhere and go on.
#include "arguments.h"
#include "checkpoint.h"
#include "clock.h"
#include "commands.h"
#include "inputs.h"
#include "memory.h"
#include "personalization.h"
#include "progress.h"
#include "stop.h"
#include "training.h"

namespace pockettune {
namespace {

constexpr int64_t most_steps = 10'000'000;
constexpr std::string_view adapter_name = "adapter.safetensors";
constexpr std::string_view result_name = "result.json";

PersonalizationSettings read_settings(const Arguments& arguments, const Manifest& manifest) {
  const Training& training = manifest.training;
  PersonalizationSettings settings;
  settings.seed = arguments.seed();
  settings.steps = arguments.whole("steps", 1, most_steps).value_or(training.steps);
  if (settings.steps > most_steps) {
    throw Failure(code::config_invalid, "the bundle asks for " + std::to_string(settings.steps) +
                                            " steps: give --steps of at most " +
                                            std::to_string(most_steps));
  }
  settings.samples = arguments.whole("samples", 1, most_steps).value_or(training.samples);
  settings.samples = std::min(settings.samples, settings.steps);
  settings.checkpoint_every = arguments.whole("checkpoint-every", 1, most_steps).value_or(25);
  settings.hyper = training.hyper;
  if (const auto rate = arguments.real("learning-rate", 0, 1e6)) {
    if (!settings.hyper.contains("learning_rate")) {
      throw Failure(code::config_invalid,
                    "this bundle's training takes no learning rate: leave out --learning-rate");
    }
    settings.hyper["learning_rate"] = *rate;
  }
  settings.prior_weight = arguments.real("prior-weight", 0, 1e6).value_or(0);
  settings.class_pictures = arguments.whole("class-pictures", 0, 100'000).value_or(0);
  if ((settings.prior_weight > 0) != (settings.class_pictures > 0)) {
    throw Failure(code::usage,
                  "prior preservation needs both --prior-weight and --class-pictures above 0");
  }
  return settings;
}

Metadata cache_identity(const Bundle& bundle, const PersonalizationSettings& settings,
                        const std::string& inputs_sha256) {
  return {{"bundle_id", bundle.manifest().bundle_id},
          {"engine", engine_name},
          {"inputs_sha256", inputs_sha256},
          {"seed", std::to_string(settings.seed)},
          {"samples", std::to_string(settings.samples)},
          {"class_pictures", std::to_string(settings.class_pictures)}};
}

Metadata state_identity(Metadata identity, const PersonalizationSettings& settings) {
  identity["steps"] = std::to_string(settings.steps);
  identity["prior_weight"] = Json(settings.prior_weight).dump();
  for (const auto& [name, value] : settings.hyper) identity[name] = Json(value).dump();
  return identity;
}

}  // namespace

void personalize(std::span<char*> words) {
  const Arguments arguments(
      words, {"bundle", "inputs", "out", "steps", "samples", "seed", "threads", "learning-rate",
              "checkpoint-every", "prior-weight", "class-pictures"});
  const Path out = arguments.path("out");
  const Path inputs_path = arguments.path("inputs");
  MemorySampler memory;
  const Bundle bundle(arguments.path("bundle"));
  const Manifest& manifest = bundle.manifest();
  require_text_to_image(manifest);
  const PersonalizationSettings settings = read_settings(arguments, manifest);
  start_engine(bundle, arguments.threads());

  const SafetensorsFile inputs(inputs_path);
  const uint64_t photos = check_photos(inputs, manifest.height, manifest.width);
  Batch batch{read_prompts(inputs, "input_ids", 1, manifest.max_length), &inputs};
  if (settings.class_pictures)
    batch.prompts.push_back(read_prompts(inputs, "class_input_ids", 1, manifest.max_length)[0]);
  batch.prompts.push_back(manifest.unconditional_ids);

  const Path work = out / "work";
  make_folder(work);
  const FolderLock lock(work);
  remove_temporary_files(out, work, {adapter_name, result_name});

  const Metadata prepared_identity = cache_identity(bundle, settings, inputs.file_sha256());
  const Checkpoints checkpoints(bundle, work, state_identity(prepared_identity, settings));
  const Program& training = bundle.program(manifest.training.program);
  std::set<std::string> names = state_of(training);
  names.insert(manifest.adapter);
  State state(bundle, names);
  std::vector<float> losses(static_cast<size_t>(settings.steps));
  const int64_t first = checkpoints.load(state, losses);
  if (first) emit({{"event", "resume"}, {"step", first}});

  const Stopwatch preparation;
  double preparation_seconds = 0;
  std::vector<double> seconds;
  if (first < settings.steps) {
    CacheFile caches = prepare(bundle, settings, batch, photos, work, prepared_identity);
    preparation_seconds = preparation.seconds();
    check_stop();
    Executor step_program(bundle, training, {settings.seed, settings.hyper, batch, state, caches});
    const auto item = [&](int64_t step) {
      return training_item(static_cast<uint64_t>(step % settings.samples), photos, settings);
    };
    seconds = train_steps(step_program, item, {first, settings.steps, settings.checkpoint_every},
                          checkpoints, state, losses);
  }

  const double change =
      change_since(initial_value(bundle, manifest.adapter), state.now(manifest.adapter), "adapter");
  const Path adapter = out / adapter_name;
  write_adapter(adapter, bundle, state.now(manifest.adapter));
  Json resumed_from;
  if (first) resumed_from = Json(first);
  const Json result(Json::Object{{"adapter_change", change},
                                 {"loss_first", mean_of_first(losses)},
                                 {"loss_last", mean_of_last(losses)},
                                 {"losses", Json::Array(losses.begin(), losses.end())},
                                 {"peak_pss_bytes", size_t{memory.peak_pss_bytes()}},
                                 {"peak_rss_bytes", size_t{peak_rss_bytes()}},
                                 {"preparation_seconds", preparation_seconds},
                                 {"resumed_from", resumed_from},
                                 {"seconds_per_step", median(seconds)},
                                 {"steps", settings.steps}});
  write_file(out / result_name, result.dump() + "\n");
  emit({{"event", "done"}, {"adapter", adapter.string()}});
}

}  // namespace pockettune
