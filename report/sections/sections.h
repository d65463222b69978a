// What a page shows of each kind of input (docs/report.md). Each begins with a heading of level 2.
#pragma once
#include <vector>

#include "report/inputs/input.h"
#include "report/page.h"
#include "report/reproduction/findings.h"

namespace elastron::report {

void add_training(Page& page, const TrainingRun& run);
// Two or more.
void add_runs_compared(Page& page, const std::vector<const TrainingRun*>& runs);
// One or more, in one section.
void add_evaluations(Page& page, const std::vector<const Evaluation*>& evaluations);
void add_benchmarks(Page& page, const std::vector<const Benchmark*>& benchmarks);
void add_benchmark_comparison(Page& page, const BenchmarkComparison& comparison);
void add_perplexities(Page& page, const std::vector<const Perplexity*>& perplexities);
void add_reward_report(Page& page, const RewardReport& report);
void add_head_map(Page& page, const HeadMap& map);
void add_reproduction(Page& page, const Reproduction& all, const Findings& findings);

}  // namespace elastron::report
