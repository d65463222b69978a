// What a page is made of: runs, evaluations, benchmarks, reward reports, tables of heads,
// reproductions, told apart by what is in them.
#pragma once
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "report/inputs/fields.h"
#include "report/inputs/reproduction.h"
#include "report/inputs/run.h"

namespace elastron::report {

// `elastron eval --out`.
struct Evaluation {
  std::string name, path;
  std::vector<Json> rows;  // one, or with --compare one per way of deciding gates
};

// `elastron benchmark`: results.json, or the --details of --score.
struct Benchmark {
  std::string name, path;
  std::string benchmark;   // "ruler"
  Json settings, results;  // results: by length, or under "all"
  Json made_by = {};       // with the command; results of older versions have none
};

// `elastron benchmark --compare`.
struct BenchmarkComparison {
  std::string name, path;
  Json runs;                     // compare.json
  std::vector<Benchmark> parts;  // results.json of each run's folder, where they are beside it
};

// `elastron benchmark perplexity`.
struct Perplexity {
  std::string name, path;
  Json settings, results;  // results: by length
  Json made_by = {};
};

// `elastron eval-reward`.
struct RewardReport {
  std::string name, path;
  Json summary, depends_on;  // summary.json, rows.meta.json
  Json made_by = {};         // made_by.json
};

// A number per layer and head: `elastron score-heads`, or a gate file in JSON.
struct HeadMap {
  std::string name, path;
  Json facts;                                                                  // of score-heads
  std::vector<std::pair<std::string, std::vector<std::vector<double>>>> maps;  // with what it is of
};

using Input = std::variant<TrainingRun, Evaluation, Benchmark, BenchmarkComparison, Perplexity,
                           RewardReport, HeadMap, Reproduction>;

// Throws InputError where the path is not there, cannot be read or is of no such kind; otherwise as
// read_run().
Input read_input(const std::string& path);

// In their order, each with a name as short as tells it from the others.
std::vector<Input> read_inputs(const std::vector<std::string>& paths);

}  // namespace elastron::report
