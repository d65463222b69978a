// LongBench-v2 asked of a model, as the published pred.py asks a server.
#pragma once
#include <string>

#include "benchmark/running/prompter.h"
#include "benchmark/running/task.h"

namespace elastron::benchmark {

struct LongBenchV2Asking {
  enum class Form : uint8_t {
    plain,       // 0shot.txt, 128 new tokens
    thoughts,    // 0shot_cot.txt with 1024, then 0shot_cot_ans.txt with 128
    no_context,  // 0shot_no_context.txt, 128
  } form = Form::plain;
  int64_t limit =
      0;  // of prompts, in tokens; 0: 120000, or what the model's positions leave room for
};

// One task, called `model`, "<model>_cot" or "<model>_no_context" as the published files are. `data`:
// data.json or its rows as lines, or a folder with data.json or data.jsonl; `prompts`: the benchmark's
// folder of templates. The prompter must outlive it. Throws InputError for bad rows and templates.
Tasks longbench_v2_run_tasks(const std::string& data, const std::string& prompts,
                             const std::string& model, const Prompter& prompter,
                             const LongBenchV2Asking& asking);

}  // namespace elastron::benchmark
