// The runner's commands (spec/runner.md). Each takes the words after its name.
#pragma once
#include <span>

namespace pockettune {

void verify(std::span<char*> words);
void personalize(std::span<char*> words);
void generate(std::span<char*> words);
void train(std::span<char*> words);
void evaluate(std::span<char*> words);
void bench(std::span<char*> words);
void run_program(std::span<char*> words);

}  // namespace pockettune
