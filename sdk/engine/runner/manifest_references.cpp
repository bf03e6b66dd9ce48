// Whether the parts of a manifest agree: every name names something, and two descriptions of one
// thing are equal.
#include <algorithm>

#include "failure.h"
#include "manifest.h"
#include "manifest_reader.h"

namespace pockettune {
namespace {

void check_file(const Manifest& manifest, const std::string& file, const std::string& user) {
  if (!manifest.files.contains(file))
    invalid_manifest(user + " names the file '" + file + "', which files lacks");
}

void check_program(const Manifest& manifest, const std::string& program, const std::string& user) {
  if (!manifest.programs.contains(program))
    invalid_manifest(user + " names no program: '" + program + "'");
}

template <class Record>
void check_same(const Named<Record>& records, const Argument& argument, const std::string& user) {
  const auto found = records.find(argument.binding.name);
  if (found == records.end())
    invalid_manifest(user + " is bound to nothing of the name '" + argument.binding.name + "'");
  if (found->second.dtype != argument.dtype || found->second.shape != argument.shape) {
    invalid_manifest(user + " has another dtype or shape than '" + argument.binding.name + "'");
  }
}

void check_argument(const Manifest& manifest, const Argument& argument, bool is_output,
                    const std::string& user) {
  switch (argument.binding.kind) {
    case BindingKind::state:
      return check_same(manifest.tensors, argument, user);
    case BindingKind::cache:
      return check_same(manifest.caches, argument, user);
    case BindingKind::loss:
    case BindingKind::metric:
      if (!is_output) invalid_manifest(user + " is an input, which cannot be a loss or metric");
      if (argument.dtype != DType::float32 ||
          !(argument.shape.empty() || argument.shape == Shape{1})) {
        invalid_manifest(user + " must be one float32");
      }
      return;
    case BindingKind::output:
      if (!is_output) invalid_manifest(user + " is an input, which cannot be bound to an output");
      return;
    case BindingKind::random_normal:
    case BindingKind::random_uniform:
      if (argument.dtype != DType::float32) invalid_manifest(user + " must be float32");
      break;
    case BindingKind::random_integer:
      if (argument.dtype != DType::int64) invalid_manifest(user + " must be int64");
      if (argument.high <= argument.low || argument.high - argument.low > int64_t{1} << 32) {
        invalid_manifest(user + " must have a range of 1 to 2^32");
      }
      break;
    case BindingKind::batch:
      break;
    case BindingKind::hyper:
      if (argument.dtype != DType::float32 && argument.dtype != DType::int64) {
        invalid_manifest(user + " must be float32 or int64");
      }
      break;
  }
  if (is_output)
    invalid_manifest(user + " is an output, which cannot be bound to an input's source");
}

/// All outputs that fill caches are about items of one scope, for which the program runs once.
void check_scopes(const Manifest& manifest, const Program& program) {
  std::optional<Scope> scope;
  for (const Argument& output : program.outputs) {
    if (output.binding.kind != BindingKind::cache) continue;
    const Scope found = manifest.caches.at(output.binding.name).scope;
    if (scope && *scope != found)
      invalid_manifest("programs." + program.name + " has outputs of several scopes");
    scope = found;
  }
}

void check_picture_members(const Manifest& manifest) {
  if (manifest.generation) {
    check_program(manifest, manifest.generation->prompt_program, "generation.prompt_program");
    check_program(manifest, manifest.generation->step_program, "generation.step_program");
    check_program(manifest, manifest.generation->output_program, "generation.output_program");
  }
  for (const std::string& file : manifest.tokenizer_files)
    check_file(manifest, file, "text.tokenizer");
  if (manifest.unconditional_ids.size() != static_cast<size_t>(manifest.max_length)) {
    invalid_manifest("text.unconditional_ids has not max_length numbers");
  }
  if (!manifest.has_adapter) return;
  const auto adapter = manifest.tensors.find(manifest.adapter);
  if (adapter == manifest.tensors.end())
    invalid_manifest("adapter.tensors names no tensor: '" + manifest.adapter + "'");
  if (adapter->second.views.empty() || adapter->second.dtype != DType::float32) {
    invalid_manifest("the adapter '" + manifest.adapter + "' is no float32 pack with views");
  }
}

void check_classification(const Manifest& manifest) {
  if (!manifest.classification) return;
  const Classification& member = *manifest.classification;
  const auto found = manifest.tensors.find(member.parameters);
  if (found == manifest.tensors.end() || found->second.views.empty() ||
      found->second.dtype != DType::float32) {
    invalid_manifest("classification.parameters names no float32 pack with views: '" +
                     member.parameters + "'");
  }
  check_program(manifest, member.evaluate_program, "classification.evaluate_program");
  for (const std::string& program : member.predict_programs)
    check_program(manifest, program, "classification.predict_programs");
}

}  // namespace

bool is_bundle_path(std::string_view name) {
  constexpr std::string_view first =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_";
  if (name.empty() || name.size() > 200 || name == "manifest.json") return false;
  int components = 0;
  for (size_t begin = 0; begin <= name.size();) {
    const size_t end = std::min(name.find('/', begin), name.size());
    const std::string_view part = name.substr(begin, end - begin);
    if (part.empty() || first.find(part[0]) == std::string_view::npos) return false;
    for (const char c : part) {
      if (first.find(c) == std::string_view::npos && c != '.' && c != '-') return false;
    }
    components++;
    begin = end + 1;
  }
  return components <= 4;
}

void check_file_names(const Manifest& manifest) {
  for (const auto& [name, entry] : manifest.files) {
    if (!is_bundle_path(name)) {
      throw Failure(code::bundle_path_invalid,
                    "the manifest names the file '" + name + "', which is not allowed");
    }
  }
}

void check_references(const Manifest& manifest) {
  for (const auto& [name, tensor] : manifest.tensors) {
    if (tensor.file) check_file(manifest, *tensor.file, "tensors." + shortened(name));
  }
  for (const auto& [name, program] : manifest.programs) {
    const std::string user = "programs." + shortened(name);
    for (const std::string& file : program.files) check_file(manifest, file, user);
    for (const Argument& input : program.inputs)
      check_argument(manifest, input, false, user + " input " + shortened(input.name));
    for (const Argument& output : program.outputs) {
      check_argument(manifest, output, true, user + " output " + shortened(output.name));
    }
    check_scopes(manifest, program);
  }
  for (const std::string& program : manifest.preparation)
    check_program(manifest, program, "preparation");
  for (const std::string& program : manifest.budgeted)
    check_program(manifest, program, "budget.programs");
  check_program(manifest, manifest.training.program, "training.program");
  check_picture_members(manifest);
  check_classification(manifest);
}

}  // namespace pockettune
