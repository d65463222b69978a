// A benchmark answered by a model: tasks, files of predictions that are gone on with, figures. The
// rows of all tasks are one stream, so that no rank waits between tasks.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "benchmark/running/answering.h"
#include "benchmark/running/task.h"
#include "core/progress.h"
#include "parallel/communicator.h"

namespace elastron::benchmark {

std::vector<RowOfTask> rows_of(const Tasks& tasks);
// Collective over `everyone`. Positions that the rows may take. All their prompts are made, the ranks
// sharing the work, so that what is wrong with one is said before the model is loaded.
int64_t longest(parallel::Communicator& everyone, const std::vector<RowOfTask>& rows);

// <out>/[<folder>/]<task>.jsonl has predictions, figures/<task>.jsonl beside it what they took, and
// figures/<task>.meta.json what both depend on.
class BenchmarkRun {
 public:
  // Collective over `everyone`, the world. Tasks must outlive it. `identity`: of the model, and how
  // it is asked. Throws UsageError where a file has predictions of another identity, and what
  // PredictionFile and Task::rows_done throw.
  BenchmarkRun(parallel::Communicator& everyone, const Tasks& tasks, const std::string& out,
               const RowsIdentity& identity);

  bool done() const { return left_.empty(); }
  const std::vector<RowOfTask>& left() const { return left_; }
  // Collective. Answers what is left. -> false where it was stopped on request before the end.
  bool run(inference::Engine& engine, const Prompter& prompter, const AnswerOptions& options,
           const LongRun& around);

  // On the first rank, after the end: figures of all rows, by task.
  std::vector<TaskParts> figures() const;

 private:
  struct Files {
    std::string predictions, figures;                              // paths
    std::unique_ptr<PredictionFile> prediction_file, figure_file;  // where rows are left
  };
  int64_t open(size_t task, const std::string& out, const RowsIdentity& identity);
  void keep(const FinishedRow& row);

  parallel::Communicator& everyone_;
  const Tasks& tasks_;
  std::vector<RowOfTask> left_;
  std::vector<Files> files_;  // by task, on the first rank
};

}  // namespace elastron::benchmark
