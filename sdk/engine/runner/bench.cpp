// pockettune-run bench: seconds and memory of one program.
#include "arguments.h"
#include "clock.h"
#include "commands.h"
#include "memory.h"
#include "progress.h"
#include "random.h"
#include "session.h"
#include "state.h"

namespace pockettune {
namespace {

double hyper_value(const Manifest& manifest, const std::string& name) {
  const Generation generation = manifest.generation.value_or(Generation{});
  if (name == "timestep") return static_cast<double>(generation.train_timesteps / 2);
  for (const Numbers* numbers : {&manifest.training.hyper, &generation.hyper}) {
    const auto value = numbers->find(name);
    if (value != numbers->end()) return value->second;
  }
  return 0;
}

/// Values that a program would see: caches stay zero, the rest is drawn from its place in the list.
Buffer example(const Bundle& bundle, const Argument& argument, uint64_t seed, uint64_t position) {
  Buffer buffer(argument.bytes());
  const RandomKey key{seed, argument.stream, position};
  switch (argument.binding.kind) {
    case BindingKind::state:
      return initial_value(bundle, argument.binding.name);
    case BindingKind::random_normal:
      random_normal(key, buffer.as<float>());
      break;
    case BindingKind::random_uniform:
      random_uniform(key, buffer.as<float>());
      break;
    case BindingKind::random_integer:
      random_integer(key, argument.low, argument.high, buffer.as<int64_t>());
      break;
    case BindingKind::hyper:
      fill_number(buffer, argument.dtype, hyper_value(bundle.manifest(), argument.binding.name));
      break;
    case BindingKind::batch:
      if (argument.dtype == DType::float32) {
        random_uniform(key, buffer.as<float>());
      } else if (argument.dtype == DType::int64) {
        const std::vector<int64_t>& ids = bundle.manifest().unconditional_ids;
        std::span<int64_t> elements = buffer.as<int64_t>();
        std::copy_n(ids.begin(), std::min(ids.size(), elements.size()), elements.begin());
      }
      break;
    default:
      break;
  }
  return buffer;
}

}  // namespace

void bench(std::span<char*> words) {
  const Arguments arguments(words, {"bundle", "program", "repeats", "warmup", "seed", "threads"});
  const int64_t repeats = arguments.whole("repeats", 1, 1'000'000).value_or(5);
  const int64_t warmup = arguments.whole("warmup", 0, 1'000'000).value_or(1);
  const std::string name = arguments.text("program");
  const int threads = arguments.threads();
  MemorySampler memory;
  const Bundle bundle(arguments.path("bundle"));
  start_engine(bundle, threads);
  const Program& program = bundle.program(name);
  Session session(bundle, program);

  std::vector<Buffer> buffers;
  std::vector<pockettune_buffer> inputs;
  std::vector<pockettune_buffer> outputs;
  buffers.reserve(program.inputs.size() + program.outputs.size());
  for (const Argument& input : program.inputs) {
    buffers.push_back(example(bundle, input, arguments.seed(), buffers.size()));
    inputs.push_back(engine_buffer(buffers.back().bytes()));
  }
  for (const Argument& output : program.outputs) {
    buffers.emplace_back(output.bytes());
    outputs.push_back(engine_buffer(buffers.back().bytes()));
  }
  std::vector<double> seconds;
  for (int64_t i = -warmup; i < repeats; i++) {
    const Stopwatch watch;
    session.run(inputs, outputs);
    if (i >= 0) seconds.push_back(watch.seconds());
  }
  emit({{"program", name},
        {"threads", threads},
        {"repeats", repeats},
        {"seconds", Json::Array(seconds.begin(), seconds.end())},
        {"median_seconds", median(seconds)},
        {"load_seconds", session.load_seconds()},
        {"arena_bytes", session.arena_bytes()},
        {"rss_anon_bytes", size_t{process_bytes("status", "RssAnon")}},
        {"rss_file_bytes", size_t{process_bytes("status", "RssFile")}},
        {"peak_rss_bytes", size_t{peak_rss_bytes()}},
        {"peak_pss_bytes", size_t{memory.peak_pss_bytes()}},
        {"engine", std::string("executorch ") + pockettune_engine_version()}});
}

}  // namespace pockettune
