// pockettune-run: personalize a bundle's model, generate pictures, measure (spec/runner.md).
#include <cerrno>
#include <cstdio>
#include <new>
#include <string>
#include <system_error>

#include "commands.h"
#include "failure.h"
#include "files.h"
#include "pockettune_engine.h"
#include "stop.h"

namespace {

constexpr const char* help = R"(pockettune-run: train and use a bundle without Python

  verify      --bundle DIR
  personalize --bundle DIR --inputs FILE --out DIR [--steps N] [--samples M] [--seed S] [--threads T]
              [--learning-rate X] [--checkpoint-every K] [--prior-weight W --class-pictures P]
  generate    --bundle DIR --inputs FILE --out DIR [--adapter FILE] [--steps N] [--guidance G] [--seed S] [--threads T]
  train       --bundle DIR --inputs FILE --out DIR [--epochs E | --steps N] [--seed S] [--round R] [--client C]
              [--learning-rate X] [--state FILE] [--threads T] [--checkpoint-every K]
  evaluate    --bundle DIR --inputs FILE [--state FILE] [--program NAME] [--threads T]
  bench       --bundle DIR --program NAME [--repeats N] [--warmup N] [--seed S] [--threads T]
  run         --bundle DIR --program NAME --inputs FILE --out FILE [--threads T]
  --version

Inputs and results: spec/runner.md. Exit status: spec/errors.json.
)";

struct Command {
  std::string_view name;
  void (*run)(std::span<char*>);
};
constexpr Command commands[] = {
    {"verify", pockettune::verify},     {"personalize", pockettune::personalize},
    {"generate", pockettune::generate}, {"train", pockettune::train},
    {"evaluate", pockettune::evaluate}, {"bench", pockettune::bench},
    {"run", pockettune::run_program}};

/// Prints one line without asking for memory. Names in a sentence may come from anybody's file:
/// control characters become spaces, and of a long sentence the middle goes.
int report(const pockettune::ErrorCode& code, std::string_view sentence) {
  constexpr size_t first = 700;
  constexpr size_t last = 300;
  static char line[first + last + 100];
  std::setvbuf(stderr, line, _IOFBF, sizeof line);
  std::fprintf(stderr, "pockettune-run: %.*s: ", static_cast<int>(code.name.size()),
               code.name.data());
  const bool cut = sentence.size() > first + last;
  for (size_t i = 0; i < sentence.size(); i++) {
    if (cut && i == first) {
      std::fputs("...", stderr);
      i = sentence.size() - last;
    }
    const auto c = static_cast<unsigned char>(sentence[i]);
    std::fputc(c < 0x20 || c == 0x7f ? ' ' : c, stderr);
  }
  std::fputc('\n', stderr);
  std::fflush(stderr);
  return code.exit_status;
}

int report_no_memory() {
  return report(pockettune::code::out_of_memory,
                "there is not enough memory; what was saved stays valid: close other programs, or "
                "use a smaller bundle, and run the same command again");
}

int report_bug(const std::exception& error) {
  return report(pockettune::code::bug, std::string("this is a bug of ours (") + error.what() +
                                           "): please report it with the command and the bundle");
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
      "'" + name +
          "' is no command: use verify, personalize, generate, train, evaluate, bench or run");
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
    return report_no_memory();
  } catch (const std::filesystem::filesystem_error& error) {
    errno = error.code().value();
    const pockettune::Failure failure = pockettune::file_failure("cannot use", error.path1());
    return report(failure.code(), failure.what());
  } catch (const std::system_error& error) {
    // A thread that cannot be started lacks memory for its stack.
    if (error.code() == std::errc::resource_unavailable_try_again) return report_no_memory();
    return report_bug(error);
  } catch (const std::exception& error) {
    return report_bug(error);
  }
}
