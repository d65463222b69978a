// A reproduction of the paper's claims: what launch/reproduce.sh leaves in its folder, job by job
// (docs/report.md, A reproduction).
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "report/inputs/fields.h"
#include "report/inputs/run.h"

namespace elastron::report {

using Matrix = std::vector<std::vector<double>>;

struct KindResult {
  std::string kind;  // of data/synthetic; of the figure "unseen" any
  bool sensitive = false;
  double accuracy = 0, msr = 0;  // shares; no number: nothing was asked
};

// Cosines of the kinds' mean pooled vectors, before and after the task MLP.
struct KindCosines {
  std::vector<std::string> kinds;
  Matrix before, after;  // [kinds][kinds]
};

// One row of `elastron eval --out`.
struct KindResults {
  std::vector<KindResult> kinds;               // in the order of SyntheticKind
  std::map<std::string, Matrix> full_by_kind;  // [layers][kv heads], share that ran full; or empty
  std::optional<KindCosines> cosines;
};

struct RewardResult {
  double accuracy = 0;
  std::optional<double> low, high;  // the judge's own 95 % interval
};

struct CostResult {
  std::optional<double> prefill_seconds, decode_tokens_per_second, msr, tiles_visited, cache_bytes,
      arithmetic_prefill;
};

struct Job {
  std::string figure, series, of, file, command;
  std::string at;                // empty: it has none
  std::optional<double> number;  // `at` where it is one
  int64_t seed = 0;
  std::optional<double> seconds;  // it took
  std::variant<KindResults, TrainingRun, RewardResult, CostResult> result;
};

struct Reproduction {
  std::string name, path;
  std::string mode, program, commit, machine, begun, backbone, command;  // empty: not known
  std::vector<Job> jobs;  // those that are done, in the order of jobs.jsonl
};

// The figures that jobs are of.
struct ReproducedFigure {
  std::string_view id, paper, title;  // paper: where it is there; "" where it has none
  std::string_view of;                // what its jobs are: "eval", "run", "reward", "cost"
  bool numbers = false;               // `at` is a number, but for series of a single point
};
extern const std::vector<ReproducedFigure> kReproducedFigures;

// Whether the folder is one.
bool is_reproduction_folder(const std::string& folder);

// A last line of jobs.jsonl without its newline is being written: it is left out. Of a job that is
// there again the last line counts. Throws InputError, naming the job and its file, where that is
// not there or is something else, where jobs of a figure have different kinds, and otherwise as
// read_input().
Reproduction read_reproduction(const std::string& folder);

}  // namespace elastron::report
