// `elastron benchmark` with a model: what is asked, by which gates, and what is left in the folder.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "benchmark/longbench_v2/run_tasks.h"
#include "benchmark/running/answering.h"
#include "launch/opened_engine.h"

namespace elastron::launch {

struct BenchmarkArguments {
  std::string benchmark;  // ruler | longbench | longbench-v2
  EngineArguments engine;
  std::string data, prompts, out;
  std::vector<std::string> tasks;
  bool extended = false;  // LongBench-E
  std::string chat_template = "auto";
  bool chat = false;  // RULER's prompts are put into the chat template
  int64_t limit = 0;  // 0: the benchmark's
  benchmark::LongBenchV2Asking::Form form = benchmark::LongBenchV2Asking::Form::plain;
  benchmark::AnswerOptions answers;
  std::string decode = "sparse";
  bool compare = false;
  std::vector<std::string> scores;  // files of scores, ranked at the router's sparsity
  std::string line;                 // the whole command
};

// The folder of what --compare makes of a file of scores.
std::string scores_name(const std::string& file);

// Collective. Leaves predictions, their figures and results.json in `out`; with `compare` in a folder
// of each way of deciding gates, and compare.json. The table goes to standard output.
ExitCode run_benchmark(const BenchmarkArguments& arguments, parallel::World& world);

}  // namespace elastron::launch
