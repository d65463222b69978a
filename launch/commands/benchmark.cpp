// elastron benchmark BENCHMARK --score DIR --out FILE.json: scores of predictions in the published
// layouts, whoever made them.
#include <fmt/format.h>

#include <memory>
#include <string>
#include <vector>

#include "benchmark/longbench/score_folder.h"
#include "benchmark/longbench_v2/score_folder.h"
#include "benchmark/ruler/score_folder.h"
#include "core/file/atomic_file.h"
#include "core/log.h"
#include "launch/command.h"
#include "launch/command_line.h"

namespace elastron::launch {

namespace {

struct Options {
  std::string benchmark;
  std::string score, out, details, csv;
  std::vector<std::string> tasks;
  bool extended = false;
};

benchmark::ScoredFolder scored(const Options& options) {
  if (options.benchmark == "longbench") {
    return benchmark::score_longbench(options.score, options.extended, options.tasks);
  }
  if (options.benchmark == "longbench-v2") {
    return benchmark::score_longbench_v2(options.score, options.tasks);
  }
  auto ruler = benchmark::score_ruler(options.score, options.tasks);
  if (!options.csv.empty()) {
    make_folder(options.csv);
    // By the name that the published program gives it.
    const auto& tasks = ruler.published;
    const std::string one = tasks.size() == 1 ? "-" + tasks.begin().key() : "";
    write_text_atomically(options.csv + "/summary" + one + ".csv", ruler.summary_csv);
    write_text_atomically(options.csv + "/submission.csv", ruler.submission_csv);
  }
  return ruler;
}

ExitCode run(const Options& options) {
  const Log log({});
  for (const std::string& path : {options.out, options.details}) {
    if (!path.empty()) check_place(path, ExitCode::usage);
  }
  const benchmark::ScoredFolder result = scored(options);
  write_text_atomically(options.out, result.published.dump(4) + "\n");
  if (!options.details.empty()) {
    write_text_atomically(options.details, result.details.dump(2) + "\n");
  }
  fmt::print("{}", result.table);
  return ExitCode::ok;
}

}  // namespace

void add_benchmark(cli::App& app, Command& selected) {
  auto* command = app.add_subcommand("benchmark", "scores predictions of long-context benchmarks");
  auto options = std::make_shared<Options>();
  command->add_option("BENCHMARK", options->benchmark, "longbench, longbench-v2 or ruler")
      ->required()
      ->check(cli::IsMember({"longbench", "longbench-v2", "ruler"}));
  command->add_option("--score", options->score, "folder of predictions, <task>.jsonl")->required();
  command
      ->add_option("--out", options->out,
                   "JSON file: {set: {bucket: score}} or {task: score}, as the benchmark's own "
                   "program has it")
      ->required();
  command->add_option("--details", options->details,
                      "JSON file with rows, empty predictions, intervals and means of groups");
  command->add_option("--task", options->tasks,
                      "sets, tasks or files to score; default: all there");
  command->add_flag("--e", options->extended, "longbench: LongBench-E, in buckets by length");
  command->add_option("--csv", options->csv, "ruler: folder for summary.csv and submission.csv");
  command->callback([&selected, options] {
    if (options->extended && options->benchmark != "longbench") {
      throw cli::ValidationError("--e is for longbench");
    }
    if (!options->csv.empty() && options->benchmark != "ruler") {
      throw cli::ValidationError("--csv is for ruler");
    }
    selected.alone = [options] { return run(*options); };
  });
}

}  // namespace elastron::launch
