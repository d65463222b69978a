// Scores of a run's predictions, with what they took: a table for people, and JSON.
#pragma once
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "benchmark/running/figures.h"
#include "benchmark/running/task.h"
#include "benchmark/scored_folder.h"

namespace elastron::benchmark {

enum class Kind : uint8_t { ruler, longbench, longbench_e, longbench_v2 };

// A number of a published table, such as RULER's mean at a length, with the MSR of its rows.
struct Cell {
  std::string name;
  std::optional<double> score, msr;
};

struct Report {
  // {"<length>" or "all": the details of --score, where each set, task or file has its figures too}
  nlohmann::ordered_json parts;
  std::string table;
  std::vector<Cell> cells;  // of the table of several runs
};

// Scores the files under `out` by the same code as --score, and leaves what the published program
// leaves beside them: result.json, RULER's summary.csv and submission.csv. `figures`: of the tasks.
Report report_of(Kind kind, const std::string& out, const Tasks& tasks,
                 const std::vector<TaskParts>& figures);

// A way of deciding gates, and what came of it.
struct ComparedRun {
  std::string name;
  std::vector<Cell> cells;
};
// A line per run; each cell is the score and the MSR of the prompts.
std::string comparison_table(const std::vector<ComparedRun>& runs);
nlohmann::ordered_json comparison_json(const std::vector<ComparedRun>& runs);

}  // namespace elastron::benchmark
