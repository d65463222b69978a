#include "benchmark/running/run.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "core/error.h"
#include "core/file/atomic_file.h"
#include "core/log.h"
#include "core/plural.h"
#include "parallel/agree.h"

namespace elastron::benchmark {

namespace {

const char* const kAnother = "use another --out, or remove the folder";

// Figures are written first: after a stop they may be of a row more than there are predictions.
std::unique_ptr<PredictionFile> figures_of(const std::string& path, int64_t rows) {
  auto file = std::make_unique<PredictionFile>(path);
  if (file->count() == rows) return file;
  if (file->count() < rows) {
    throw InputError(fmt::format("figures of {}, and there are predictions of {}",
                                 plural(file->count(), "row"), rows),
                     path, kAnother);
  }
  std::string text;
  for (int64_t i = 0; i < rows; ++i) {
    text += row_figures_json(row_figures(file->rows()[size_t(i)])).dump() + "\n";
  }
  file.reset();
  write_text_atomically(path, text);
  return std::make_unique<PredictionFile>(path);
}

}  // namespace

std::vector<RowOfTask> rows_of(const Tasks& tasks) {
  std::vector<RowOfTask> rows;
  for (const auto& task : tasks) {
    for (int64_t row = 0; row < task->rows(); ++row) rows.push_back({task.get(), row});
  }
  return rows;
}

int64_t longest(parallel::Communicator& everyone, const std::vector<RowOfTask>& rows) {
  int64_t most[] = {1};
  parallel::on_all_ranks(everyone, [&] {
    Progress progress(everyone.rank() == 0);
    const auto ranks = size_t(everyone.size());
    for (size_t i = size_t(everyone.rank()); i < rows.size(); i += ranks) {
      progress.show("reading prompts", i, rows.size());
      const auto& [task, row] = rows[i];
      most[0] = std::max(most[0], task->positions(task->question(row)));
    }
  });
  everyone.all_reduce_host(std::span<int64_t>(most), parallel::ReduceOp::max);
  return most[0];
}

BenchmarkRun::BenchmarkRun(parallel::Communicator& everyone, const Tasks& tasks,
                           const std::string& out, const RowsIdentity& identity)
    : everyone_(everyone), tasks_(tasks) {
  std::string done;  // rows, by task
  parallel::on_all_ranks(everyone, [&] {
    if (everyone.rank() != 0) return;
    for (size_t t = 0; t < tasks.size(); ++t) done += std::to_string(open(t, out, identity)) + " ";
  });
  done = everyone.broadcast_host(done, 0);
  size_t at = 0;
  int64_t rows = 0;
  for (const auto& task : tasks) {
    const size_t end = done.find(' ', at);
    rows += task->rows();
    for (int64_t row = std::stoll(done.substr(at, end - at)); row < task->rows(); ++row) {
      left_.push_back({task.get(), row});
    }
    at = end + 1;
  }
  if (int64_t(left_.size()) < rows) {
    log_info("going on: {} of {} are left", left_.size(), plural(rows, "row"));
  }
}

int64_t BenchmarkRun::open(size_t t, const std::string& out, const RowsIdentity& identity) {
  const Task& task = *tasks_[t];
  const std::string folder = out + (task.folder().empty() ? "" : "/" + task.folder());
  Files files{.predictions = folder + "/" + task.name() + ".jsonl",
              .figures = folder + "/figures/" + task.name() + ".jsonl"};
  make_folder(folder + "/figures");
  RowsIdentity all = identity;
  all.merge(task.identity());
  claim_rows(folder + "/figures/" + task.name() + ".meta.json", files.predictions, all, kAnother);
  auto predictions = std::make_unique<PredictionFile>(files.predictions);
  const int64_t done = task.rows_done(*predictions);
  auto figures = figures_of(files.figures, done);
  if (done < task.rows()) {
    files.prediction_file = std::move(predictions);
    files.figure_file = std::move(figures);
  }
  files_.push_back(std::move(files));
  return done;
}

void BenchmarkRun::keep(const FinishedRow& finished) {
  const auto& [task, row] = left_[size_t(finished.place)];
  const auto of_task = [&](const auto& t) { return t.get() == task; };
  Files& files = files_[size_t(std::ranges::find_if(tasks_, of_task) - tasks_.begin())];
  const Answer answer = read_answer(finished.result);
  files.figure_file->append(row_figures_json(answer.figures));
  files.prediction_file->append(task->prediction(row, answer.texts));
}

bool BenchmarkRun::run(inference::Engine& engine, const Prompter& prompter,
                       const AnswerOptions& options, const LongRun& around) {
  Answering answering(engine, prompter, options, left_);
  Progress progress(everyone_.rank() == 0);
  const SharedRows work{.rows = int64_t(left_.size()),
                        .between_exchanges = engine.mesh().data().size() > 1 ? options.texts : 1,
                        .step = [&] { return answering.step(); },
                        .keep =
                            [&](const FinishedRow& row) {
                              keep(row);
                              progress.show("answering", uint64_t(row.place) + 1, left_.size(),
                                            fmt::format("{} of {}", row.place + 1,
                                                        plural(int64_t(left_.size()), "row")));
                            }};
  const bool whole = work_on(work, engine.mesh(), around);
  progress.clear();
  for (Files& files : files_) {
    files.prediction_file.reset();
    files.figure_file.reset();
  }
  return whole;
}

std::vector<TaskParts> BenchmarkRun::figures() const {
  std::vector<TaskParts> all;
  for (size_t t = 0; t < files_.size(); ++t) {
    TaskParts& sums = all.emplace_back();
    const PredictionFile file(files_[t].figures);
    for (size_t i = 0; i < file.rows().size(); ++i) {
      const RowFigures row = row_figures(file.rows()[i]);
      sums.all.add(row);
      for (const std::string& part : tasks_[t]->parts(int64_t(i))) sums.parts[part].add(row);
    }
  }
  return all;
}

}  // namespace elastron::benchmark
