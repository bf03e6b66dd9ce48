// pockettune-run run: one program once, every input from a file and every output into one.
#include "arguments.h"
#include "commands.h"
#include "progress.h"
#include "safetensors.h"
#include "session.h"

namespace pockettune {

void run_program(std::span<char*> words) {
  const Arguments arguments(words, {"bundle", "program", "inputs", "out", "threads"});
  const std::string name = arguments.text("program");
  const Path inputs_path = arguments.path("inputs");
  const Path out = arguments.path("out");
  const Bundle bundle(arguments.path("bundle"));
  start_engine(bundle, arguments.threads());
  const Program& program = bundle.program(name);
  const SafetensorsFile file(inputs_path);

  std::vector<Buffer> buffers;
  std::vector<pockettune_buffer> inputs;
  std::vector<pockettune_buffer> outputs;
  std::vector<TensorView> results;
  buffers.reserve(program.inputs.size() + program.outputs.size());
  for (const Argument& input : program.inputs) {
    const SafetensorsEntry& entry = file.require(input.name, input.dtype, input.shape);
    buffers.emplace_back(input.bytes());
    file.read(entry, buffers.back().bytes());
    inputs.push_back(engine_buffer(buffers.back().bytes()));
  }
  for (const Argument& output : program.outputs) {
    buffers.emplace_back(output.bytes());
    outputs.push_back(engine_buffer(buffers.back().bytes()));
    results.push_back({output.name, output.dtype, output.shape, buffers.back().bytes()});
  }
  Session(bundle, program).run(inputs, outputs);
  write_safetensors(out, results, {});
  emit({{"event", "done"}, {"path", out.string()}});
}

}  // namespace pockettune
