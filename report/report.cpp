#include "report/report.h"

#include <algorithm>
#include <map>

#include "core/error.h"
#include "core/file/folder_lock.h"
#include "report/inputs/input.h"
#include "report/page.h"
#include "report/reproduction/markdown_page.h"
#include "report/sections/sections.h"

namespace elastron::report {

namespace {

template <class Kind>
std::vector<const Kind*> of_kind(const std::vector<Input>& inputs) {
  std::vector<const Kind*> found;
  for (const Input& input : inputs) {
    if (const Kind* one = std::get_if<Kind>(&input)) found.push_back(one);
  }
  return found;
}

void add_all_benchmarks(Page& page, const std::vector<Input>& inputs) {
  for (const auto* comparison : of_kind<BenchmarkComparison>(inputs)) {
    add_benchmark_comparison(page, *comparison);
  }
  // Those of one benchmark are compared.
  std::map<std::string, std::vector<const Benchmark*>> by_benchmark;
  for (const Benchmark* b : of_kind<Benchmark>(inputs)) by_benchmark[b->benchmark].push_back(b);
  for (const auto& [name, benchmarks] : by_benchmark) add_benchmarks(page, benchmarks);
  const auto perplexities = of_kind<Perplexity>(inputs);
  if (!perplexities.empty()) add_perplexities(page, perplexities);
}

void add_claims(Report& report, const Findings& findings) {
  for (const Claim& claim : findings.claims) report.claims.push_back(line_of(claim));
}

std::string title_of(const std::vector<Input>& inputs) {
  std::string title = "Elastron:";
  const auto name = [](const auto& input) { return input.name; };
  for (size_t i = 0; i < std::min<size_t>(inputs.size(), 3); ++i) {
    title += (i == 0 ? " " : ", ") + std::visit(name, inputs[i]);
  }
  return title + (inputs.size() > 3 ? ", ..." : "");
}

}  // namespace

Report report_page(const ReportOptions& options) {
  const std::vector<Input> inputs = read_inputs(options.paths);
  Report report;
  Page page(title_of(inputs));
  if (options.refresh_seconds) {
    page.paragraph("This page loads itself again while training goes on.");
  }
  for (const auto* reproduction : of_kind<Reproduction>(inputs)) {
    const Findings findings = findings_of(*reproduction);
    add_reproduction(page, *reproduction, findings);
    add_claims(report, findings);
  }
  const auto runs = of_kind<TrainingRun>(inputs);
  if (runs.size() > 1) add_runs_compared(page, runs);
  for (const TrainingRun* run : runs) add_training(page, *run);
  const auto evaluations = of_kind<Evaluation>(inputs);
  if (!evaluations.empty()) add_evaluations(page, evaluations);
  add_all_benchmarks(page, inputs);
  for (const auto* rewards : of_kind<RewardReport>(inputs)) add_reward_report(page, *rewards);
  for (const auto* map : of_kind<HeadMap>(inputs)) add_head_map(page, *map);
  page.heading(2, "This page");
  page.paragraph(
      "Tables sort by a click on a heading where scripts run. CSV files have the numbers with all "
      "their digits.");
  page.code(options.made_by);
  report.text = std::move(page).html(options.refresh_seconds);
  return report;
}

Report report_markdown(const ReportOptions& options, const std::string& folder) {
  const std::vector<Input> inputs = read_inputs(options.paths);
  const auto reproductions = of_kind<Reproduction>(inputs);
  if (inputs.size() != 1 || reproductions.size() != 1) {
    throw UsageError("only a reproduction is written as Markdown", options.paths[0],
                     "give the folder of one reproduction alone, or --out FILE.html");
  }
  const Findings findings = findings_of(*reproductions[0]);
  Report report = markdown_page(*reproductions[0], findings, folder);
  add_claims(report, findings);
  return report;
}

std::vector<std::string> runs_going_on(const std::vector<std::string>& paths) {
  std::vector<std::string> found;
  std::ranges::copy_if(paths, std::back_inserter(found), folder_in_use);
  return found;
}

bool all_are_runs(const std::vector<std::string>& paths) {
  return std::ranges::all_of(paths, is_run_folder);
}

}  // namespace elastron::report
