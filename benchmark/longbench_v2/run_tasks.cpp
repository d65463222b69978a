#include "benchmark/longbench_v2/run_tasks.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "benchmark/longbench_v2/rows.h"
#include "benchmark/running/task_files.h"
#include "core/error.h"
#include "core/file/checksum.h"

namespace elastron::benchmark {

namespace {

using Form = LongBenchV2Asking::Form;

constexpr int64_t kAnswerTokens = 128, kThoughtTokens = 1024;
constexpr int64_t kPublishedLimit = 120000;
// By how much the second prompt may be longer than the first with its thoughts: another template,
// and thoughts that are tokenised again.
constexpr int64_t kSecondPrompt = 256;

class LongBenchV2RunTask final : public Task {
 public:
  LongBenchV2RunTask(std::string name, const std::string& data, const std::string& prompts,
                     const Prompter& prompter, const LongBenchV2Asking& asking)
      : name_(std::move(name)),
        path_(data),
        form_(asking.form),
        prompter_(prompter),
        limit_(asking.limit > 0
                   ? asking.limit
                   : std::min(kPublishedLimit, prompter.largest_limit(beyond_prompt()))),
        rows_(read_longbench_v2_data(data)) {
    expect_rows(int64_t(rows_.size()), data);
    const auto read = [&](const char* file) {
      return read_longbench_v2_prompt(prompts + "/" + file);
    };
    first_ = read(form_ == Form::plain      ? "0shot.txt"
                  : form_ == Form::thoughts ? "0shot_cot.txt"
                                            : "0shot_no_context.txt");
    if (form_ == Form::thoughts) second_ = read("0shot_cot_ans.txt");
    if (form_ != Form::no_context && first_.find("$DOC$") == first_.npos) {
      throw InputError("the prompt template has no $DOC$", prompts, "give LongBench-v2's own file");
    }
    if (form_ == Form::thoughts && second_.find("$COT$") == second_.npos) {
      throw InputError("the prompt template has no $COT$", prompts + "/0shot_cot_ans.txt",
                       "give LongBench-v2's own file");
    }
  }

  std::string name() const override { return name_; }
  std::string folder() const override { return ""; }
  int64_t rows() const override { return int64_t(rows_.size()); }
  Question question(int64_t i) const override {
    return asked(i, longbench_v2_prompt(first_, rows_[size_t(i)]),
                 form_ == Form::thoughts ? kThoughtTokens : kAnswerTokens);
  }
  std::optional<Question> next_question(int64_t i,
                                        const std::vector<std::string>& texts) const override {
    if (form_ != Form::thoughts || texts.size() > 1) return {};
    return asked(i, longbench_v2_prompt(second_, rows_[size_t(i)], texts.front()), kAnswerTokens);
  }
  int64_t positions(const Question& first) const override {
    return int64_t(first.ids.size()) + beyond_prompt();
  }
  nlohmann::ordered_json prediction(int64_t i,
                                    const std::vector<std::string>& texts) const override {
    std::optional<std::string> thoughts;
    if (form_ == Form::thoughts) thoughts = texts.front();
    return longbench_v2_prediction(rows_[size_t(i)], texts.back(), thoughts);
  }
  std::vector<std::string> parts(int64_t i) const override {
    return {rows_[size_t(i)].difficulty, rows_[size_t(i)].length};
  }
  int64_t rows_done(const PredictionFile& file) const override {
    const auto done = longbench_v2_rows_done(file, rows_);
    return first_rows_done(done.size(), file.path(),
                           [&](size_t i) { return done.contains(rows_[i].id); });
  }
  RowsIdentity identity() const override {
    Checksum prompts;
    prompts.add(first_);
    prompts.add(second_);
    return {{"rows", file_checksum(path_)},
            {"prompts", prompts.digest()},
            {"limit", std::to_string(limit_)}};
  }

 private:
  int64_t beyond_prompt() const {
    return form_ == Form::thoughts ? kThoughtTokens + kSecondPrompt + kAnswerTokens : kAnswerTokens;
  }
  Question asked(int64_t i, const std::string& prompt, int64_t new_tokens) const {
    Question question = prompter_.question(
        prompt, {.limit = limit_, .join = MiddleCut::Join::tokens, .answer_prefix = {}},
        fmt::format("{}, row {}", path_, i + 1));
    question.max_tokens = new_tokens;
    return question;
  }

  std::string name_, path_;
  Form form_;
  const Prompter& prompter_;
  int64_t limit_;
  std::vector<LongBenchV2Row> rows_;
  std::string first_, second_;
};

}  // namespace

Tasks longbench_v2_run_tasks(const std::string& data, const std::string& prompts,
                             const std::string& model, const Prompter& prompter,
                             const LongBenchV2Asking& asking) {
  namespace fs = std::filesystem;
  std::string path = data;
  if (fs::is_directory(data)) {
    path = fs::exists(data + "/data.json") ? data + "/data.json" : data + "/data.jsonl";
  }
  const std::string name = model + (asking.form == Form::thoughts     ? "_cot"
                                    : asking.form == Form::no_context ? "_no_context"
                                                                      : "");
  Tasks tasks;
  tasks.push_back(std::make_unique<LongBenchV2RunTask>(name, path, prompts, prompter, asking));
  return tasks;
}

}  // namespace elastron::benchmark
