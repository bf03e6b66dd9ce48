// The manifest of a bundle as checked records (spec/bundle.md, 1 to 5).
#pragma once
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "binding.h"
#include "json.h"
#include "sampler.h"

namespace pockettune {

struct FileEntry {
  std::string sha256;
  uint64_t bytes;
};

struct View {
  std::string name;
  Shape shape;
  uint64_t offset;  // elements
};

struct StateTensor {
  DType dtype;
  Shape shape;
  std::string role;
  std::optional<std::string> file;  // of the initial value; none: zeros
  std::vector<View> views;

  size_t bytes() const { return *element_count(shape) * size_of(dtype); }
};

struct Cache {
  DType dtype;
  Shape shape;
  DType stored;
  Scope scope;
  std::optional<uint32_t> initial_stream;  // of random.normal

  size_t bytes() const { return *element_count(shape) * size_of(dtype); }
  size_t stored_bytes() const { return *element_count(shape) * size_of(stored); }
};

struct Program {
  std::string name;
  std::string file;  // for this engine; empty when the bundle has the program for others only
  std::string method;
  std::vector<Argument> inputs;
  std::vector<Argument> outputs;
  std::vector<std::string> files;  // for every engine
};

using Numbers = std::map<std::string, double>;
template <class Value>
using Named = std::map<std::string, Value, std::less<>>;

/// This runner's engine, by its name in a manifest.
inline constexpr const char* engine_name = "executorch";

struct Training {
  std::string program;
  int64_t steps;
  int64_t samples;
  int64_t accumulation;
  Numbers hyper;
};

struct Generation {
  std::string step_program;
  std::string output_program;
  std::string prompt_program;
  int64_t steps;
  int64_t train_timesteps;
  Spacing spacing;
  int64_t steps_offset;
  Numbers hyper;
};

struct Classification {
  Shape input_shape;  // without the batch
  int64_t classes;
  int64_t batch_size;
  int64_t epochs;
  std::string parameters;  // name of the state tensor
  std::string evaluate_program;
  std::vector<std::string> predict_programs;
};

struct Manifest {
  std::string bundle_id;
  std::string name;
  std::string task;
  std::string executorch;  // the version that made the programs
  Named<FileEntry> files;
  Named<StateTensor> tensors;
  Named<Cache> caches;
  Named<Program> programs;
  std::vector<std::string> preparation;
  Training training;
  // What pictures need; empty in a bundle of another task.
  std::optional<Generation> generation;
  std::optional<Classification> classification;  // what a client of a fleet needs
  std::vector<std::string> tokenizer_files;
  std::vector<int64_t> unconditional_ids;
  int64_t max_length = 0;
  int64_t height = 0;
  int64_t width = 0;
  bool has_adapter = false;
  std::string adapter;  // name of the state tensor
  std::map<std::string, std::string> adapter_metadata;
  std::vector<std::string> budgeted;  // programs
};

/// True for 1 to 4 components of [A-Za-z0-9_][A-Za-z0-9._-]*, at most 200 characters, other than
/// manifest.json.
bool is_bundle_path(std::string_view name);

/// The whole of manifest.json's bytes, checked: prefix, id, JSON, members, and that they agree with
/// each other. Raises bundle_manifest_invalid, bundle_corrupt, bundle_format_unsupported,
/// bundle_path_invalid.
Manifest parse_manifest(std::string_view bytes);

}  // namespace pockettune
