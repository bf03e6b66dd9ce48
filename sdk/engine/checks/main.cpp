// pockettune-check: the parts of the runner one by one, for the tests. Numbers are printed one per
// line, floats as decimal bit patterns.
//
//   words SEED STREAM INDEX BLOCK
//   uniform|normal SEED STREAM INDEX COUNT            integer SEED STREAM INDEX COUNT LOW HIGH
//   of-words WORD...                                  (uniform and normal of each)
//   halves BITS...                                    (float16 of each float32, and back)
//   timesteps trailing|leading TRAIN STEPS OFFSET     (now and previous)
//   sha256 FILE...
//   bundle PATH...   safetensors PATH...              (for each the error's code, or ok and what it
//   holds)
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "bundle.h"
#include "random.h"
#include "safetensors.h"
#include "sampler.h"
#include "sha256.h"

namespace {

using namespace pockettune;
using Words = std::vector<std::string>;

uint64_t number(const std::string& text) { return std::strtoull(text.c_str(), nullptr, 10); }
int64_t whole(const std::string& text) { return std::strtoll(text.c_str(), nullptr, 10); }
void print(uint64_t value) { std::printf("%llu\n", static_cast<unsigned long long>(value)); }
void print_signed(int64_t value) { std::printf("%lld\n", static_cast<long long>(value)); }
RandomKey key_of(const Words& words) {
  return {number(words.at(0)), static_cast<uint32_t>(number(words.at(1))), number(words.at(2))};
}

void print_floats(const Words& words, void (*draw)(const RandomKey&, std::span<float>)) {
  std::vector<float> values(number(words.at(3)));
  draw(key_of(words), values);
  for (const float value : values) print(std::bit_cast<uint32_t>(value));
}

void print_words(const Words& words) {
  for (const uint32_t word :
       random_words(key_of(words), static_cast<uint32_t>(number(words.at(3)))))
    print(word);
}

void print_integers(const Words& words) {
  std::vector<int64_t> values(number(words.at(3)));
  random_integer(key_of(words), whole(words.at(4)), whole(words.at(5)), values);
  for (const int64_t value : values) print_signed(value);
}

void print_of_words(const Words& words) {
  for (const std::string& word : words) {
    const auto value = static_cast<uint32_t>(number(word));
    print(std::bit_cast<uint32_t>(uniform_of_word(value)));
    print(std::bit_cast<uint32_t>(normal_of_word(value)));
  }
}

void print_halves(const Words& words) {
  for (const std::string& word : words) {
    const uint16_t half = to_half(std::bit_cast<float>(static_cast<uint32_t>(number(word))));
    print(half);
    print(std::bit_cast<uint32_t>(from_half(half)));
  }
}

void print_timesteps(const Words& words) {
  const Spacing spacing = words.at(0) == "leading" ? Spacing::leading : Spacing::trailing;
  for (const Timestep& step :
       sampler_timesteps(spacing, whole(words.at(1)), whole(words.at(2)), whole(words.at(3)))) {
    print_signed(step.now);
    print_signed(step.previous);
  }
}

void print_digests(const Words& words) {
  for (const std::string& path : words) std::puts(ReadFile(path).sha256_from(0).c_str());
}

/// One line for each path: what `describe` says of it, or the code of its refusal.
void print_verdicts(const Words& words,
                    const std::function<std::string(const std::string&)>& describe) {
  for (const std::string& path : words) {
    std::string line;
    try {
      line = "ok " + describe(path);
    } catch (const Failure& failure) {
      line = failure.code().name;
    }
    std::puts(line.c_str());
  }
}

std::string describe_safetensors(const std::string& path) {
  const SafetensorsFile file(path);
  std::string text;
  for (const SafetensorsEntry& entry : file.entries()) {
    std::vector<std::byte> bytes(entry.end - entry.begin);
    file.read(entry, bytes);
    text += entry.name + " " + std::string(name_of(entry.dtype)) + " " + to_string(entry.shape) +
            " " + sha256(bytes) + " ";
  }
  return text;
}

}  // namespace

int main(int count, char** arguments) {
  const Words all(arguments + 1, arguments + count);
  const std::map<std::string, std::function<void(const Words&)>> checks{
      {"words", print_words},
      {"integer", print_integers},
      {"uniform", [](const Words& words) { print_floats(words, random_uniform); }},
      {"normal", [](const Words& words) { print_floats(words, random_normal); }},
      {"of-words", print_of_words},
      {"halves", print_halves},
      {"timesteps", print_timesteps},
      {"sha256", print_digests},
      {"bundle",
       [](const Words& words) {
         print_verdicts(words,
                        [](const std::string& path) { return Bundle(path).manifest().bundle_id; });
       }},
      {"safetensors", [](const Words& words) { print_verdicts(words, describe_safetensors); }}};
  const auto check = all.empty() ? checks.end() : checks.find(all[0]);
  if (check == checks.end()) {
    std::fputs("pockettune-check: no such check\n", stderr);
    return 2;
  }
  check->second(Words(all.begin() + 1, all.end()));
  return 0;
}
