// pockettune-run evaluate: how good a fleet's model is on a file of examples.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "arguments.h"
#include "commands.h"
#include "examples.h"
#include "inputs.h"
#include "progress.h"
#include "stop.h"

namespace pockettune {
namespace {

struct Score {
  double loss = 0;  // summed
  double right = 0;
};

/// What a program that predicts gave last, ``[batch_size, classes]``.
std::span<const float> logits_of(const Executor& executor, const std::string& program,
                                 const Classification& task) {
  const std::span<const float> logits = executor.output();
  const uint64_t wanted =
      static_cast<uint64_t>(task.batch_size) * static_cast<uint64_t>(task.classes);
  if (logits.size() != wanted) {
    throw Failure(code::bundle_manifest_invalid,
                  "program '" + program + "' gives " + std::to_string(logits.size()) +
                      " numbers, and a batch has " + std::to_string(wanted) +
                      " logits: export the bundle again");
  }
  return logits;
}

/// Of the logits of a program that predicts.
void add_predictions(Score& score, std::span<const float> logits, size_t classes,
                     const Examples& examples, std::span<const int64_t> chosen) {
  for (size_t i = 0; i < chosen.size(); i++) {
    const std::span<const float> row = logits.subspan(i * classes, classes);
    const auto label = static_cast<size_t>(examples.label(chosen[i]));
    const auto largest = std::max_element(row.begin(), row.end());
    double sum = 0;
    for (const float logit : row) sum += std::exp(static_cast<double>(logit) - *largest);
    score.loss += std::log(sum) + *largest - row[label];
    score.right += static_cast<size_t>(largest - row.begin()) == label;
  }
}

}  // namespace

void evaluate(std::span<char*> words) {
  const Arguments arguments(words, {"bundle", "inputs", "state", "program", "threads"});
  const Path inputs_path = arguments.path("inputs");
  const Bundle bundle(arguments.path("bundle"));
  require_task(bundle.manifest(), "classification");
  const Classification& task = *bundle.manifest().classification;
  const auto given = arguments.optional_path("program");
  const std::string name = given ? given->string() : task.evaluate_program;
  const std::vector<std::string>& predicting = task.predict_programs;
  const bool predicts = std::find(predicting.begin(), predicting.end(), name) != predicting.end();
  if (!predicts && name != task.evaluate_program) {
    std::string valid = task.evaluate_program;
    for (const std::string& program : predicting) valid += ", " + program;
    throw Failure(code::program_missing,
                  "'" + name + "' neither evaluates nor predicts: use one of " + valid);
  }
  start_engine(bundle, arguments.threads());
  const SafetensorsFile inputs(inputs_path);
  const Examples examples(inputs, task);
  const Program& program = bundle.program(name);
  State state = client_state(bundle, state_of(program), arguments.optional_path("state"));
  Batch batch;
  MemoryCache caches;
  Executor executor(bundle, program, {0, {}, batch, state, caches});
  std::vector<int64_t> order(static_cast<size_t>(examples.count()));
  std::iota(order.begin(), order.end(), int64_t{0});
  const auto size = static_cast<size_t>(task.batch_size);
  Score score;
  for (size_t begin = 0; begin < order.size(); begin += size) {
    check_stop();
    const auto chosen =
        std::span<const int64_t>(order).subspan(begin, std::min(size, order.size() - begin));
    examples.fill(batch, chosen);
    executor.run({});
    if (predicts) {
      add_predictions(score, logits_of(executor, name, task), static_cast<size_t>(task.classes),
                      examples, chosen);
    } else {
      score.loss += executor.metric("loss_sum");
      score.right += executor.metric("right");
    }
  }
  const auto count = static_cast<double>(order.size());
  if (!std::isfinite(score.loss)) {
    throw Failure(code::loss_not_finite,
                  "the model's loss is not finite: use other parameters than these");
  }
  emit({{"event", "done"},
        {"program", name},
        {"examples", order.size()},
        {"loss", score.loss / count},
        {"accuracy", score.right / count}});
}

}  // namespace pockettune
