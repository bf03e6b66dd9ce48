// What a program's input or output is bound to (spec/bundle.md, 3).
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "dtype.h"

namespace pockettune {

enum class BindingKind {
  batch,
  state,
  cache,
  random_normal,
  random_uniform,
  random_integer,
  hyper,
  loss,
  metric,
  output
};

struct Binding {
  BindingKind kind;
  std::string name;  // empty for random numbers and the loss
};

/// The binding that a manifest's text means; nothing when it means none.
std::optional<Binding> parse_binding(std::string_view text);

/// What an item of a program's work is counted by.
/// A cache has one of the first four.
enum class Scope { prompt, photo, sample, picture, step, round, client };
std::optional<Scope> parse_scope(std::string_view text);
std::string_view name_of(Scope scope);

/// One input or output of a program.
struct Argument {
  std::string name;
  DType dtype;
  Shape shape;
  Binding binding;
  // Random inputs.
  uint32_t stream = 0;
  Scope index = Scope::sample;
  int64_t low = 0;
  int64_t high = 1;
  // A cache of prompts where two prompts are needed.
  bool unconditional = false;

  size_t bytes() const { return *element_count(shape) * size_of(dtype); }
};

}  // namespace pockettune
