// Rows judged by a generative judge: a model is asked for verdicts, and what it writes is kept row
// by row, so that an evaluation that stopped goes on with the rows that are left.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/long_run.h"
#include "parallel/communicator.h"
#include "reward/judged_rows.h"
#include "reward/judging/evaluation_rows.h"
#include "reward/judging/judge.h"

namespace elastron::reward {

class RowJudging {
 public:
  // Collective over `everyone`, the world. `files` and `everyone` must outlive this. `out`: the
  // folder with rows.jsonl, where rows that are there already are not judged again. `identity`:
  // model, router and rows; how it is judged is added here. Throws what Judge and JudgedRowsFile
  // throw, and InputError where there is no row.
  RowJudging(parallel::Communicator& everyone, const std::vector<EvaluationFile>& files,
             const std::string& model_folder, const JudgeOptions& options, const std::string& out,
             EvaluationIdentity identity);

  bool done() const { return tasks_.empty(); }
  // Collective, before run(): positions that the engine must have.
  int64_t longest() const { return judge_->longest(everyone_, tasks_); }

  // Collective. Judges the rows that are left. -> false where it was stopped on request before the
  // end.
  bool run(inference::Engine& engine, const LongRun& around);

  // Collective, after the end: all rows in canonical order on rank 0, elsewhere none. Throws
  // InputError where every row was skipped.
  std::vector<JudgedRow> finish();

 private:
  void open(const std::string& out, const EvaluationIdentity& identity);
  const EvaluationFile& file_of(const JudgeTask& task) const;

  parallel::Communicator& everyone_;
  const std::vector<EvaluationFile>& files_;
  bool first_;
  std::unique_ptr<Judge> judge_;
  std::unique_ptr<JudgedRowsFile> rows_;  // on rank 0
  std::vector<JudgeTask> all_, tasks_;    // tasks: those that are left
};

}  // namespace elastron::reward
