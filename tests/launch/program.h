// Runs the elastron program from tests, alone or under mpirun, and looks at what it leaves behind.
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/scratch.h"

namespace elastron::test {

struct Outcome {
  int code = -1;
  std::string out, err;
};

// A command line whose paths of the sources and of what was built there have their blanks escaped.
std::string for_shell(const std::string& command);
// The library under a path that LD_PRELOAD takes, which separates by blanks.
std::string preloadable(const std::string& library);

// ranks 0: without mpirun. `prefix` goes before the program ("ulimit -f 10;", "timeout 20").
Outcome elastron(int ranks, const std::string& arguments, const std::string& prefix = "");

// The same for another program of ours.
Outcome run_program(const std::string& program, int ranks, const std::string& arguments,
                    const std::string& prefix = "");

// The exit code, and exactly one error line (however many ranks saw the fault), with every fragment
// in it.
void expect_error(const Outcome& o, int code, const std::vector<std::string>& fragments);

// What a checkpoint holds that a run of the same settings elsewhere would have too: all but its
// place, its run and its configuration.
nlohmann::json contents(const std::string& checkpoint);

// The objects of a metrics.jsonl that are steps, by step.
std::map<int64_t, nlohmann::json> metrics(const std::string& folder);

// Losses, gradient norms and MSR or accuracy of all steps, relative to each other; `what` is for
// messages. One tolerance holds for all of them: a gradient is summed in float32 over at most some
// thousand terms, in another order on another layout, and its norm over all parameters keeps the
// relative error of the largest ones, about the root of that many roundings of 6e-8.
void expect_same_curve(const std::map<int64_t, nlohmann::json>& a,
                       const std::map<int64_t, nlohmann::json>& b, double tolerance,
                       const std::string& what);

// A model folder without weights: tests/fixtures/tiny_model and the synthetic tasks' tokenizer.
const std::string& tiny_shapes();

// A model folder with random weights: exported by a short pretraining run, made once per process.
const std::string& tiny_backbone();
// The same of another family, by its model_type: "llama" has llama3 rope scaling, which the
// documents are longer than, and "qwen2" biases that are not 0 any more.
const std::string& tiny_shapes(const std::string& family);
const std::string& tiny_backbone(const std::string& family);

std::string read_text(const std::string& path);
void write_text(const std::string& path, const std::string& text);

}  // namespace elastron::test
