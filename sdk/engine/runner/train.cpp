// pockettune-run train: a client of a fleet trains the whole model on its own examples.
#include "arguments.h"
#include "clock.h"
#include "commands.h"
#include "examples.h"
#include "inputs.h"
#include "memory.h"
#include "progress.h"
#include "training.h"

namespace pockettune {
namespace {

constexpr int64_t most_steps = (1 << 20) - 1;
constexpr std::string_view parameters_name = "parameters.safetensors";
constexpr std::string_view result_name = "result.json";

Numbers hyper_of(const Arguments& arguments, const Training& training) {
  Numbers hyper = training.hyper;
  if (const auto rate = arguments.real("learning-rate", 0, 1e6)) hyper["learning_rate"] = *rate;
  return hyper;
}

/// --steps, else --epochs or the bundle's, in steps.
int64_t steps_of(const Arguments& arguments, const Classification& task, int64_t per_epoch) {
  const auto steps = arguments.whole("steps", 1, most_steps);
  const auto epochs = arguments.whole("epochs", 1, most_steps);
  if (steps && epochs) throw Failure(code::usage, "give --steps or --epochs, not both");
  const int64_t wanted = steps ? *steps : epochs.value_or(task.epochs) * per_epoch;
  if (wanted > most_steps) {
    throw Failure(code::config_invalid, std::to_string(wanted) +
                                            " steps are more than a round has: give --steps of at "
                                            "most " +
                                            std::to_string(most_steps));
  }
  return wanted;
}

}  // namespace

void train(std::span<char*> words) {
  const Arguments arguments(
      words, {"bundle", "inputs", "out", "epochs", "steps", "seed", "round", "client",
              "learning-rate", "state", "threads", "checkpoint-every"});
  const Path out = arguments.path("out");
  const Path inputs_path = arguments.path("inputs");
  MemorySampler memory;
  const Bundle bundle(arguments.path("bundle"));
  const Manifest& manifest = bundle.manifest();
  require_task(manifest, "classification");
  const Classification& task = *manifest.classification;
  const Identity identity{
      arguments.seed(),
      static_cast<uint64_t>(arguments.whole("round", 0, (1 << 20) - 1).value_or(0)),
      static_cast<uint64_t>(arguments.whole("client", 0, (1 << 24) - 1).value_or(0))};
  const Numbers hyper = hyper_of(arguments, manifest.training);
  const std::optional<Path> start = arguments.optional_path("state");
  start_engine(bundle, arguments.threads());

  const SafetensorsFile inputs(inputs_path);
  const Examples examples(inputs, task);
  const int64_t per_epoch = (examples.count() + task.batch_size - 1) / task.batch_size;
  const int64_t steps = steps_of(arguments, task, per_epoch);

  const Path work = out / "work";
  make_folder(work);
  const FolderLock lock(work);
  remove_temporary_files(out, work, {parameters_name, result_name});

  Metadata settings{{"bundle_id", manifest.bundle_id},
                    {"engine", engine_name},
                    {"inputs_sha256", inputs.file_sha256()},
                    {"state_sha256", start ? SafetensorsFile(*start).file_sha256() : ""},
                    {"seed", std::to_string(identity.seed)},
                    {"round", std::to_string(identity.round)},
                    {"client", std::to_string(identity.client)},
                    {"steps", std::to_string(steps)}};
  for (const auto& [name, value] : hyper) settings[name] = Json(value).dump();
  const Checkpoints checkpoints(bundle, work, settings);
  const Program& program = bundle.program(manifest.training.program);
  State state = client_state(bundle, state_of(program), start);
  const Buffer before = copy_of(state.now(task.parameters));
  std::vector<float> losses(static_cast<size_t>(steps));
  const int64_t first = checkpoints.load(state, losses);
  if (first) emit({{"event", "resume"}, {"step", first}});

  std::vector<double> seconds;
  if (first < steps) {
    Batch batch;
    MemoryCache caches;
    Executor step_program(bundle, program, {identity.seed, hyper, batch, state, caches});
    int64_t epoch = -1;
    std::vector<int64_t> order;
    const auto item = [&](int64_t step) {
      if (step / per_epoch != epoch) {
        epoch = step / per_epoch;
        order = epoch_order(identity, epoch, examples.count());
      }
      const int64_t begin = step % per_epoch * task.batch_size;
      const int64_t count = std::min(task.batch_size, examples.count() - begin);
      examples.fill(
          batch, std::span(order).subspan(static_cast<size_t>(begin), static_cast<size_t>(count)));
      return identity.item(step);
    };
    seconds =
        train_steps(step_program, item,
                    {first, steps, arguments.whole("checkpoint-every", 1, most_steps).value_or(25)},
                    checkpoints, state, losses);
  }

  const double change = change_since(before, state.now(task.parameters), "model");
  const Path parameters = out / parameters_name;
  write_views(parameters, manifest.tensors.at(task.parameters), state.now(task.parameters),
              {{"bundle_id", manifest.bundle_id}});
  Json resumed_from;
  if (first) resumed_from = Json(first);
  const Json result(Json::Object{{"change", change},
                                 {"examples", examples.count()},
                                 {"loss_first", mean_of_first(losses)},
                                 {"loss_last", mean_of_last(losses)},
                                 {"losses", Json::Array(losses.begin(), losses.end())},
                                 {"peak_pss_bytes", size_t{memory.peak_pss_bytes()}},
                                 {"peak_rss_bytes", size_t{peak_rss_bytes()}},
                                 {"resumed_from", resumed_from},
                                 {"seconds_per_step", median(seconds)},
                                 {"steps", steps}});
  write_file(out / result_name, result.dump() + "\n");
  emit({{"event", "done"}, {"parameters", parameters.string()}});
}

}  // namespace pockettune
