#include "binding.h"

#include <array>
#include <utility>

namespace pockettune {
namespace {

constexpr std::array<std::string_view, 7> scopes{"prompt", "photo", "sample", "picture",
                                                 "step",   "round", "client"};

constexpr std::array<std::pair<std::string_view, BindingKind>, 4> whole{
    {{"random.normal", BindingKind::random_normal},
     {"random.uniform", BindingKind::random_uniform},
     {"random.integer", BindingKind::random_integer},
     {"loss", BindingKind::loss}}};

constexpr std::array<std::pair<std::string_view, BindingKind>, 6> prefixes{
    {{"batch.", BindingKind::batch},
     {"state.", BindingKind::state},
     {"cache.", BindingKind::cache},
     {"hyper.", BindingKind::hyper},
     {"metric.", BindingKind::metric},
     {"output.", BindingKind::output}}};

}  // namespace

std::optional<Binding> parse_binding(std::string_view text) {
  for (const auto& [name, kind] : whole) {
    if (text == name) return Binding{kind, ""};
  }
  for (const auto& [prefix, kind] : prefixes) {
    if (text.starts_with(prefix) && text.size() > prefix.size()) {
      return Binding{kind, std::string(text.substr(prefix.size()))};
    }
  }
  return std::nullopt;
}

std::optional<Scope> parse_scope(std::string_view text) {
  for (size_t i = 0; i < scopes.size(); i++) {
    if (scopes[i] == text) return static_cast<Scope>(i);
  }
  return std::nullopt;
}

std::string_view name_of(Scope scope) { return scopes[static_cast<size_t>(scope)]; }

}  // namespace pockettune
