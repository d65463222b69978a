#include "launch/judge_rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "core/file/checksum.h"
#include "core/log.h"
#include "core/progress.h"
#include "launch/signals.h"
#include "parallel/agree.h"

namespace elastron::launch {

namespace {

// Texts that take long: kept every so many rows per data rank.
constexpr size_t kRowsAtATime = 1;
constexpr const char* kTooLong = "the prompt is longer than the limit";

reward::JudgedRow judged(const EvaluationFile& file, const reward::PreferenceRow& row,
                         const JudgeOutput& output) {
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

}  // namespace

std::optional<std::vector<reward::JudgedRow>> judge_rows(const InferenceArguments& arguments,
                                                         parallel::World& world,
                                                         const std::vector<EvaluationFile>& files,
                                                         const std::string& out,
                                                         const JudgeOptions& options,
                                                         reward::EvaluationIdentity identity) {
  auto everyone = world.split(0, world.rank(), "world");
  const bool first = world.rank() == 0;
  std::vector<JudgeTask> all;
  for (const EvaluationFile& file : files) {
    for (const auto& row : file.content.rows) {
      all.push_back({.row = &row, .file = file.name, .index = row.index});
    }
  }
  std::unique_ptr<Judge> judge;
  std::unique_ptr<reward::JudgedRowsFile> rows;
  const auto file_of = [&](const JudgeTask& task) -> const EvaluationFile& {
    return *std::ranges::find(files, task.file, &EvaluationFile::name);
  };
  std::string todo;  // a letter per task
  parallel::on_all_ranks(*everyone, [&] {
    expect_rows_left(files, int64_t(all.size()));
    judge = std::make_unique<Judge>(arguments.model, options);
    if (!first) return;
    const auto& g = options.generation;
    Checksum prompt;
    prompt.add(options.prompt.system_prompt);
    identity["judge"] = "generative";
    identity["model"] = arguments.model;
    identity["router"] = arguments.router + " " + arguments.force;
    identity["limit"] = std::to_string(options.prompt.limit);
    identity["settings"] = fmt::format(
        "temperature {}, top_p {}, seed {}, max tokens {}, order {}, system prompt {}, decode {}, "
        "control tokens {}",
        g.sampling.temperature, g.sampling.top_p, g.sampling.seed, g.max_tokens,
        options.order == reward::JudgeOrder::both ? "both" : "drawn",
        options.prompt.system_prompt.empty() ? "by file" : prompt.digest(), g.decode,
        options.prompt.control_tokens == data::ControlTokens::automatic
            ? "text"
            : config::enum_name(options.prompt.control_tokens));
    rows = std::make_unique<reward::JudgedRowsFile>(out, identity, names_of(files));
    for (const JudgeTask& task : all) todo += rows->done(task.file, task.index) ? '-' : '+';
    for (const EvaluationFile& file : files) {
      for (const auto& row : file.content.bad_rows) {
        if (!rows->done(file.name, row.index)) rows->append(unjudged(file, row, 0));
      }
    }
  });
  todo = everyone->broadcast_host(todo, 0);
  std::vector<JudgeTask> tasks;
  for (size_t i = 0; i < all.size(); ++i) {
    if (todo[i] == '+') tasks.push_back(all[i]);
  }
  if (tasks.size() < all.size()) {
    log_info("going on: {} of {} rows are left", tasks.size(), all.size());
  }
  if (!tasks.empty()) {
    const int64_t longest = judge->longest(*everyone, tasks);
    Inference inference(world, arguments, longest);
    const size_t at_a_time = kRowsAtATime * size_t(inference.mesh().data().size());
    on_stop_request(OnStop::note);
    Progress progress(first);
    for (size_t begin = 0; begin < tasks.size(); begin += at_a_time) {
      progress.show("judging", begin, tasks.size(),
                    fmt::format("{} of {} rows", begin, tasks.size()));
      const auto now = std::span<const JudgeTask>(tasks).subspan(
          begin, std::min(at_a_time, tasks.size() - begin));
      const auto outputs =
          judge->judge(inference, now, [&] { inference.runtime().watchdog().beat(); });
      parallel::on_all_ranks(*everyone, [&] {
        if (!first) return;
        for (size_t i = 0; i < now.size(); ++i) {
          rows->append(judged(file_of(now[i]), *now[i].row, outputs[i]));
        }
      });
      const bool more = begin + at_a_time < tasks.size();
      if (more && parallel::on_any_rank(*everyone, stop_requested())) return {};
    }
  }
  std::vector<reward::JudgedRow> judged_rows;
  parallel::on_all_ranks(*everyone, [&] {
    if (!first) return;
    judged_rows = rows->finish();
    const auto skipped = std::ranges::count_if(judged_rows, &reward::JudgedRow::skipped);
    expect_rows_left(files, int64_t(judged_rows.size()) - skipped,
                     {{kTooLong, int64_t(all.size())}});
  });
  return judged_rows;
}

}  // namespace elastron::launch
