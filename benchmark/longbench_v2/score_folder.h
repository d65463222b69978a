// Predictions of LongBench-v2, counted as the published result.py does.
#pragma once
#include <string>
#include <vector>

#include "benchmark/scored_folder.h"

namespace elastron::benchmark {

// {file's name without its ending: {"overall", "easy", "hard", "short", "medium", "long"}} in
// percent, one decimal; the details have the same with an answer that was not found as a quarter
// ("compensated"). `tasks`: names of files; empty: all.
ScoredFolder score_longbench_v2(const std::string& folder, const std::vector<std::string>& tasks);

}  // namespace elastron::benchmark
