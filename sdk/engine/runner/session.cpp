#include "session.h"

#include "clock.h"

namespace pockettune {
namespace {

/// Raises out_of_memory or engine_failed unless a call of the engine succeeded.
void check(int result, const std::string& what) {
  if (result == POCKETTUNE_OK) return;
  const std::string sentence = what + ": " + pockettune_engine_error();
  if (result == POCKETTUNE_MEMORY)
    throw Failure(code::out_of_memory, sentence + "; close other programs and try again");
  throw Failure(code::engine_failed, sentence);
}

std::string describe(const pockettune_tensor& tensor) {
  constexpr std::string_view names[] = {"other", "float32", "float16", "int64",
                                        "int32", "uint8",   "int8"};
  return std::string(names[tensor.dtype]) + " " +
         to_string(Shape(tensor.shape, tensor.shape + tensor.rank));
}

}  // namespace

void start_engine(const Bundle& bundle, int threads) {
  bundle.check_engine(pockettune_engine_version());
  check(pockettune_engine_set_threads(threads), "the runtime cannot start");
}

Session::Session(const Bundle& bundle, const Program& program) : description_(program) {
  if (program.file.empty()) {
    throw Failure(code::program_missing, "the bundle has '" + program.name +
                                             "' for other engines only: export it for executorch");
  }
  const Stopwatch watch;
  pockettune_program* opened = nullptr;
  check(pockettune_program_open(bundle.path(program.file).c_str(), &opened),
        "'" + program.file + "' cannot be opened");
  program_.reset(opened);
  bundle.check_unchanged(program.file);
  pockettune_method* loaded = nullptr;
  check(pockettune_method_load(opened, program.method.c_str(), &loaded),
        "program '" + program.name + "' cannot be loaded");
  method_.reset(loaded);
  load_seconds_ = watch.seconds();
  check_arguments();
}

void Session::check_arguments() const {
  const auto compare = [&](const char* kind, const std::vector<Argument>& arguments, auto count_of,
                           auto tensor_of) {
    size_t count = 0;
    count_of(method_.get(), &count);
    if (count != arguments.size()) {
      throw Failure(code::tensor_mismatch,
                    "program '" + description_.name + "' has " + std::to_string(count) + " " +
                        kind + "s, its manifest lists " + std::to_string(arguments.size()) +
                        ": export the bundle again");
    }
    for (size_t i = 0; i < count; i++) {
      pockettune_tensor tensor{};
      tensor_of(method_.get(), i, &tensor);
      const std::string wanted =
          std::string(name_of(arguments[i].dtype)) + " " + to_string(arguments[i].shape);
      if (describe(tensor) != wanted) {
        throw Failure(code::tensor_mismatch, std::string(kind) + " '" + arguments[i].name +
                                                 "' of program '" + description_.name + "' is " +
                                                 describe(tensor) + ", its manifest says " +
                                                 wanted + ": export the bundle again");
      }
    }
  };
  compare("input", description_.inputs, pockettune_method_input_count, pockettune_method_input);
  compare("output", description_.outputs, pockettune_method_output_count, pockettune_method_output);
}

void Session::run(std::span<const pockettune_buffer> inputs,
                  std::span<const pockettune_buffer> outputs) {
  check(pockettune_method_run(method_.get(), inputs.data(), inputs.size(), outputs.data(),
                              outputs.size()),
        "program '" + description_.name + "' failed");
}

size_t Session::arena_bytes() const {
  size_t bytes = 0;
  pockettune_method_arena_bytes(method_.get(), &bytes);
  return bytes;
}

}  // namespace pockettune
