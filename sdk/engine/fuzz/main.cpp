// pockettune-fuzz manifest|safetensors FILE COUNT [SEED]: feeds COUNT mutations of a file to a
// target, the same ones every time, with any compiler. A crash or a sanitizer's report is the
// finding; the exit status is 0 otherwise.
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <random>
#include <string>

#include "targets.h"

namespace {

/// One to eight edits: flip, replace, insert, remove, repeat a piece, or put in a token that means
/// something.
std::string mutate(std::string text, std::mt19937_64& random) {
  constexpr std::string_view tokens[] = {"{",
                                         "}",
                                         "[",
                                         "]",
                                         ":",
                                         ",",
                                         "\"",
                                         "-1",
                                         "1e999",
                                         "18446744073709551616",
                                         "\\ud800",
                                         "null",
                                         "9007199254740993",
                                         "[[[[[[[[[[[[[[[[[[",
                                         "\xff",
                                         "0"};
  const auto below = [&](size_t limit) {
    return limit ? static_cast<size_t>(random() % limit) : 0;
  };
  for (size_t edits = 1 + below(8); edits > 0; edits--) {
    const size_t at = below(text.size() + 1);
    switch (below(6)) {
      case 0:
        if (at < text.size()) text[at] = static_cast<char>(text[at] ^ 1 << below(8));
        break;
      case 1:
        if (at < text.size()) text[at] = static_cast<char>(below(256));
        break;
      case 2:
        text.insert(at, 1, static_cast<char>(below(256)));
        break;
      case 3:
        text.erase(at, below(16));
        break;
      case 4:
        text.insert(at, text.substr(below(text.size() + 1), below(64)));
        break;
      default:
        text.insert(at, tokens[below(std::size(tokens))]);
    }
  }
  return text;
}

}  // namespace

int main(int count, char** words) {
  if (count < 4) {
    std::fputs("pockettune-fuzz manifest|safetensors FILE COUNT [SEED]\n", stderr);
    return 2;
  }
  const std::string_view kind = words[1];
  std::ifstream in(words[2], std::ios::binary);
  const std::string original{std::istreambuf_iterator<char>(in), {}};
  if (original.empty()) {
    std::fputs("pockettune-fuzz: the file is empty or cannot be read\n", stderr);
    return 3;
  }
  std::mt19937_64 random(count > 4 ? std::strtoull(words[4], nullptr, 10) : 0);
  const unsigned long long mutations = std::strtoull(words[3], nullptr, 10);
  for (unsigned long long i = 0; i < mutations; i++) {
    const std::string text = mutate(original, random);
    kind == "manifest" ? pockettune::fuzz_manifest(text) : pockettune::fuzz_safetensors(text);
  }
  std::printf("%llu mutations of %zu bytes\n", mutations, original.size());
  return 0;
}
