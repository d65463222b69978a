// Predictions of LongBench and LongBench-E, scored as the published eval.py does.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "benchmark/scored_folder.h"

namespace elastron::benchmark {

// The bucket of LongBench-E that a row of this length is in, by the benchmark's own count.
const char* longbench_bucket(int64_t length);

// `extended`: LongBench-E, in three buckets by length; {set: {bucket: score}}, else {set: score}.
// `tasks`: the sets to score; empty: all files there. The details have the means of the paper's
// groups, of the groups and of all sets of a group, each missing where a set is. InputError for an
// unknown set, one that jieba is needed for, and bad rows.
ScoredFolder score_longbench(const std::string& folder, bool extended,
                             const std::vector<std::string>& tasks);

}  // namespace elastron::benchmark
