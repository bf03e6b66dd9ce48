// pockettune-run: personalize a bundle's model, generate pictures, measure (spec/runner.md).
#include <cstdio>
#include <new>
#include <string>

#include "commands.h"
#include "failure.h"
#include "pockettune_engine.h"
#include "stop.h"

namespace {

constexpr const char* help = R"(pockettune-run: train and use a bundle without Python

  verify      --bundle DIR
  personalize --bundle DIR --inputs FILE --out DIR [--steps N] [--samples M] [--seed S] [--threads T]
              [--learning-rate X] [--checkpoint-every K] [--prior-weight W --class-pictures P]
  generate    --bundle DIR --inputs FILE --out DIR [--adapter FILE] [--steps N] [--guidance G] [--seed S] [--threads T]
  bench       --bundle DIR --program NAME [--repeats N] [--warmup N] [--seed S] [--threads T]
  run         --bundle DIR --program NAME --inputs FILE --out FILE [--threads T]
  --version

Inputs and results: spec/runner.md. Exit status: spec/errors.json.
)";

struct Command {
  std::string_view name;
  void (*run)(std::span<char*>);
};
constexpr Command commands[] = {{"verify", pockettune::verify},
                                {"personalize", pockettune::personalize},
                                {"generate", pockettune::generate},
                                {"bench", pockettune::bench},
                                {"run", pockettune::run_program}};

int report(const pockettune::ErrorCode& code, const char* sentence) {
  std::fprintf(stderr, "pockettune-run: %.*s: %s\n", static_cast<int>(code.name.size()),
               code.name.data(), sentence);
  return code.exit_status;
}

void dispatch(std::span<char*> words) {
  const std::string name = words.empty() ? "" : words[0];
  if (name == "--help" || name == "-h") {
    std::fputs(help, stdout);
    return;
  }
  if (name == "--version") {
    std::printf("pockettune-run abi %d, executorch %s\n", pockettune_engine_abi(),
                pockettune_engine_version());
    return;
  }
  for (const Command& command : commands) {
    if (command.name == name) return command.run(words.subspan(1));
  }
  throw pockettune::Failure(
      pockettune::code::usage,
      "'" + name + "' is no command: use verify, personalize, generate, bench or run");
}

}  // namespace

int main(int count, char** words) {
  pockettune::watch_stop_signals();
  try {
    dispatch(std::span(words, static_cast<size_t>(count)).subspan(1));
    return 0;
  } catch (const pockettune::Failure& failure) {
    return report(failure.code(), failure.what());
  } catch (const std::bad_alloc&) {
    return report(pockettune::code::engine_failed,
                  "out of memory: close other programs and try again");
  } catch (const std::exception& error) {
    return report(pockettune::code::engine_failed, error.what());
  }
}
