// RULER asked of a model: prompts as the published program sends them.
#pragma once
#include <string>
#include <vector>

#include "benchmark/running/prompter.h"
#include "benchmark/running/task.h"

namespace elastron::benchmark {

struct RulerAsking {
  bool chat = false;  // prompts are not in a chat template yet, and are to be
  int64_t limit = 0;  // tokens beyond which a prompt loses its middle; 0: none may be cut
};

// `data`: a folder with <task>/validation.jsonl, or with folders of such, named by lengths, each as
// it is or below a folder "data". `names`: tasks to ask; empty: all there. In the order of lengths and
// of the published tasks. The prompter must outlive them. Throws InputError for bad rows, and where
// there are none.
Tasks ruler_run_tasks(const std::string& data, const std::vector<std::string>& names,
                      const Prompter& prompter, const RulerAsking& asking);

}  // namespace elastron::benchmark
