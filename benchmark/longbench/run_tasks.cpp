#include "benchmark/longbench/run_tasks.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "benchmark/longbench/rows.h"
#include "benchmark/longbench/score_folder.h"
#include "benchmark/longbench/sets.h"
#include "benchmark/running/task_files.h"
#include "benchmark/scored_folder.h"
#include "core/error.h"
#include "core/file/checksum.h"
#include "core/log.h"

namespace elastron::benchmark {

namespace {

// Dialogues are summed up in a line (the published pred.py).
constexpr std::string_view kStopsAtNewline = "samsum";

class LongBenchRunTask final : public Task {
 public:
  LongBenchRunTask(const LongBenchSet& set, const std::string& path,
                   std::shared_ptr<const LongBenchPrompts> prompts, const Prompter& prompter,
                   int64_t limit, bool extended)
      : set_(set),
        extended_(extended),
        path_(path),
        prompts_(std::move(prompts)),
        prompter_(prompter),
        new_tokens_(prompts_->max_new_tokens(set)),
        limit_(limit > 0 ? limit : prompter.largest_limit(new_tokens_)),
        rows_(read_longbench_data(path)) {
    expect_rows(int64_t(rows_.size()), path);
    if (set.name == kStopsAtNewline) {
      const auto newline = prompter.tokenizer().encode("\n");
      if (!newline.empty()) stop_ids_ = {newline.back()};
    }
  }

  std::string name() const override { return std::string(set_.name); }
  std::string folder() const override { return ""; }
  int64_t rows() const override { return int64_t(rows_.size()); }
  Question question(int64_t i) const override {
    Question question =
        prompter_.question(prompts_->prompt(set_, rows_[size_t(i)]),
                           {.chat = !set_.bare_prompt, .limit = limit_, .answer_prefix = {}},
                           fmt::format("{}, row {}", path_, i + 1));
    question.max_tokens = new_tokens_;
    question.stop_ids = stop_ids_;
    question.min_tokens = stop_ids_.empty() ? 0 : 1;
    return question;
  }
  nlohmann::ordered_json prediction(int64_t row,
                                    const std::vector<std::string>& texts) const override {
    return longbench_prediction(rows_[size_t(row)], texts.front());
  }
  std::vector<std::string> parts(int64_t row) const override {
    if (!extended_) return {};
    return {longbench_bucket(rows_[size_t(row)].length)};
  }
  int64_t rows_done(const PredictionFile& file) const override {
    return longbench_rows_done(file, rows_);
  }
  RowsIdentity identity() const override {
    Checksum prompts;
    prompts.add(prompts_->prompt(set_, {.input = "{input}", .context = "{context}"}));
    return {{"rows", file_checksum(path_)},
            {"prompts", prompts.digest()},
            {"new tokens", std::to_string(new_tokens_)},
            {"limit", std::to_string(limit_)}};
  }

 private:
  const LongBenchSet& set_;
  bool extended_;
  std::string path_;
  std::shared_ptr<const LongBenchPrompts> prompts_;
  const Prompter& prompter_;
  int64_t new_tokens_, limit_;
  std::vector<LongBenchRow> rows_;
  std::vector<int32_t> stop_ids_;
};

}  // namespace

Tasks longbench_run_tasks(const std::string& data, const std::string& prompts,
                          const std::vector<std::string>& names, const Prompter& prompter,
                          const LongBenchAsking& asking) {
  namespace fs = std::filesystem;
  const std::string ending = asking.extended ? "_e.jsonl" : ".jsonl";
  const std::string folder = fs::is_directory(data + "/data") ? data + "/data" : data;
  const auto templates = std::make_shared<const LongBenchPrompts>(prompts);
  for (const std::string& name : names) {
    const LongBenchSet& set = longbench_set(name, "--task");
    if (!fs::exists(folder + "/" + name + ending) || (asking.extended && !set.extended)) {
      throw InputError("no data of '" + name + "'", folder,
                       "the folder must have " + name + ending);
    }
  }
  Tasks tasks;
  for (const LongBenchSet& set : longbench_sets()) {
    const std::string path = folder + "/" + std::string(set.name) + ending;
    if (!fs::exists(path) || !is_asked_for(names, std::string(set.name))) continue;
    if (set.metric == LongBenchMetric::chinese_words) {
      log_warning("left out, as its scores are not offered: {}", path);
      continue;
    }
    tasks.push_back(std::make_unique<LongBenchRunTask>(set, path, templates, prompter, asking.limit,
                                                       asking.extended));
  }
  if (tasks.empty()) {
    throw InputError("no data of LongBench's sets", folder,
                     "the folder must have <set>" + ending + ", such as qasper" + ending);
  }
  return tasks;
}

}  // namespace elastron::benchmark
