// LongBench and LongBench-E asked of a model: prompts, cuts and stops as in the published pred.py.
#pragma once
#include <string>
#include <vector>

#include "benchmark/running/prompter.h"
#include "benchmark/running/task.h"

namespace elastron::benchmark {

struct LongBenchAsking {
  bool extended = false;  // <set>_e.jsonl
  int64_t limit = 0;      // of prompts, in tokens; 0: what the model's positions leave room for
};

// `data`: the folder with <set>.jsonl or <set>_e.jsonl, or one whose folder "data" has them;
// `prompts`: the benchmark's folder config. `names`: sets to ask; empty: all that there are data of
// and whose scores are offered. In the published order. The prompter must outlive them. Throws
// InputError for bad rows and prompts, and where there are none.
Tasks longbench_run_tasks(const std::string& data, const std::string& prompts,
                          const std::vector<std::string>& names, const Prompter& prompter,
                          const LongBenchAsking& asking);

}  // namespace elastron::benchmark
