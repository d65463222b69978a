#include "reward/judging/row_judging.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/file/checksum.h"
#include "core/log.h"
#include "core/plural.h"
#include "core/progress.h"
#include "parallel/agree.h"

namespace elastron::reward {

namespace {

constexpr const char* kTooLong = "the prompt is longer than the limit";

JudgedRow judged(const EvaluationFile& file, const PreferenceRow& row, const JudgeOutput& output) {
  const JudgeAnswer& answer = output.front();
  auto out = unjudged(file, row, answer.prompt_tokens);
  out.truncated = answer.truncated;
  if (answer.skipped) {
    out.skip_reason = kTooLong;
    return out;
  }
  out.judgement = {.chosen_is_a = answer.chosen_is_a,
                   .output = answer.text,
                   .prompt_tokens = answer.prompt_tokens};
  if (output.size() > 1 && !output[1].skipped) out.judgement->swapped_output = output[1].text;
  return out;
}

void add_settings(EvaluationIdentity& identity, const JudgeOptions& options) {
  const auto& g = options.generation;
  Checksum prompt;
  prompt.add(options.prompt.system_prompt);
  identity["judge"] = "generative";
  identity["limit"] = std::to_string(options.prompt.limit);
  identity["settings"] = fmt::format(
      "temperature {}, top_p {}, seed {}, max tokens {}, order {}, system prompt {}, decode {}, "
      "control tokens {}",
      g.sampling.temperature, g.sampling.top_p, g.sampling.seed, g.max_tokens,
      options.order == JudgeOrder::both ? "both" : "drawn",
      options.prompt.system_prompt.empty() ? "by file" : prompt.digest(),
      g.cache.keep_all ? "full" : "sparse",
      options.prompt.control_tokens == data::ControlTokens::automatic
          ? "text"
          : config::enum_name(options.prompt.control_tokens));
}

}  // namespace

RowJudging::RowJudging(parallel::Communicator& everyone, const std::vector<EvaluationFile>& files,
                       const std::string& model_folder, const JudgeOptions& options,
                       const std::string& out, EvaluationIdentity identity)
    : everyone_(everyone), files_(files), first_(everyone.rank() == 0) {
  for (const EvaluationFile& file : files) {
    for (const auto& row : file.content.rows) {
      all_.push_back({.row = &row, .file = file.name, .index = row.index});
    }
  }
  parallel::on_all_ranks(everyone, [&] {
    expect_rows_left(files, int64_t(all_.size()));
    judge_ = std::make_unique<Judge>(model_folder, options);
    if (!first_) return;
    add_settings(identity, options);
    open(out, identity);
  });
  std::string todo;  // a letter per task
  if (first_) {
    for (const JudgeTask& task : all_) todo += rows_->done(task.file, task.index) ? '-' : '+';
  }
  todo = everyone.broadcast_host(todo, 0);
  for (size_t i = 0; i < all_.size(); ++i) {
    if (todo[i] == '+') tasks_.push_back(all_[i]);
  }
  if (tasks_.size() < all_.size()) {
    log_info("going on: {} of {} are left", tasks_.size(), plural(int64_t(all_.size()), "row"));
  }
}

void RowJudging::open(const std::string& out, const EvaluationIdentity& identity) {
  rows_ = std::make_unique<JudgedRowsFile>(out, identity, names_of(files_));
  for (const EvaluationFile& file : files_) {
    for (const auto& row : file.content.bad_rows) {
      if (!rows_->done(file.name, row.index)) rows_->append(unjudged(file, row, 0));
    }
  }
}

const EvaluationFile& RowJudging::file_of(const JudgeTask& task) const {
  return *std::ranges::find(files_, task.file, &EvaluationFile::name);
}

bool RowJudging::run(inference::Engine& engine, const LongRun& around) {
  // Texts take long: they are kept as soon as may be.
  const size_t at_a_time = size_t(judge_->options().texts * engine.mesh().data().size());
  Progress progress(first_);
  for (size_t begin = 0; begin < tasks_.size(); begin += at_a_time) {
    progress.show("judging", begin, tasks_.size(),
                  fmt::format("{} of {}", begin, plural(int64_t(tasks_.size()), "row")));
    const auto now = std::span<const JudgeTask>(tasks_).subspan(
        begin, std::min(at_a_time, tasks_.size() - begin));
    const auto outputs = judge_->judge(engine, now, around.beat);
    parallel::on_all_ranks(everyone_, [&] {
      if (!first_) return;
      for (size_t i = 0; i < now.size(); ++i) {
        rows_->append(judged(file_of(now[i]), *now[i].row, outputs[i]));
      }
    });
    const bool more = begin + at_a_time < tasks_.size();
    if (more && parallel::on_any_rank(everyone_, around.stop_requested())) return false;
  }
  return true;
}

std::vector<JudgedRow> RowJudging::finish() {
  std::vector<JudgedRow> rows;
  parallel::on_all_ranks(everyone_, [&] {
    if (!first_) return;
    rows = rows_->finish();
    const auto skipped = std::ranges::count_if(rows, &JudgedRow::skipped);
    expect_rows_left(files_, int64_t(rows.size()) - skipped, {{kTooLong, int64_t(all_.size())}});
  });
  return rows;
}

}  // namespace elastron::reward
