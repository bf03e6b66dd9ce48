// The command line: --name value pairs, each known to its command and checked.
#pragma once
#include <cstdint>
#include <initializer_list>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "files.h"

namespace pockettune {

class Arguments {
 public:
  /// Raises usage for an option outside `allowed`, one without a value, or one given twice.
  Arguments(std::span<char*> words, std::initializer_list<std::string_view> allowed);

  /// Raises usage when it was not given.
  Path path(std::string_view name) const;
  std::string text(std::string_view name) const;
  std::optional<Path> optional_path(std::string_view name) const;
  std::optional<int64_t> whole(std::string_view name, int64_t low, int64_t high) const;
  std::optional<double> real(std::string_view name, double low, double high) const;
  uint64_t seed() const;
  int threads() const;

 private:
  const std::string* find(std::string_view name) const;
  std::map<std::string, std::string, std::less<>> values_;
};

}  // namespace pockettune
