#include "reward/judging/judge.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "core/error.h"
#include "core/json.h"
#include "core/log.h"
#include "inference/scheduler.h"
#include "model/weights/model_config.h"
#include "parallel/agree.h"

namespace elastron::reward {

namespace {

using Json = nlohmann::json;

// Names a text among all that are drawn with one seed.
uint64_t stream_of(const JudgeTask& task, bool chosen_is_a) {
  const auto row_and_order = uint32_t(2 * task.index + (chosen_is_a ? 1 : 0));
  return uint64_t(judge_coordinate(task.file)) << 32 | row_and_order;
}

Json to_json(const JudgeOutput& output) {
  Json list = Json::array();
  for (const JudgeAnswer& a : output) {
    list.push_back(
        {a.chosen_is_a, a.prompt_tokens, a.truncated, a.skipped, a.output_tokens, a.text});
  }
  return list;
}

JudgeOutput from_json(const Json& list) {
  JudgeOutput output;
  for (const Json& a : list) {
    output.push_back({.chosen_is_a = a[0],
                      .prompt_tokens = a[1],
                      .truncated = a[2],
                      .skipped = a[3],
                      .output_tokens = a[4],
                      .text = a[5]});
  }
  return output;
}

}  // namespace

Judge::Judge(const std::string& model_folder, JudgeOptions options)
    : options_(std::move(options)),
      tokenizer_(data::load_tokenizer(model_folder)),
      prompts_(*tokenizer_, model_folder, options_.prompt),
      model_vocab_(model::read_model_shapes(model_folder).vocab_size),
      vocab_size_(std::min(model_vocab_, tokenizer_->vocab_size())) {}

std::vector<bool> Judge::orders(const JudgeTask& task) const {
  const bool drawn = draws_chosen_first(options_.generation.sampling.seed, task.file, task.index);
  if (options_.order == JudgeOrder::drawn) return {drawn};
  return {drawn, !drawn};
}

int64_t Judge::longest(parallel::Communicator& everyone, std::span<const JudgeTask> tasks) const {
  int64_t most[] = {1};
  std::vector<int64_t> controls(tasks.size(), 0);
  parallel::on_all_ranks(everyone, [&] {
    for (size_t i = size_t(everyone.rank()); i < tasks.size(); i += size_t(everyone.size())) {
      for (const bool chosen_is_a : orders(tasks[i])) {
        const auto prompt = prompts_.prompt(*tasks[i].row, tasks[i].file, chosen_is_a);
        if (!prompt.skipped && std::ranges::max(prompt.ids) >= model_vocab_) {
          throw InputError("the tokenizer has ids that the model lacks", tasks[i].row->where,
                           "use the tokenizer of this model");
        }
        most[0] = std::max(most[0], int64_t(prompt.ids.size()));
      }
      controls[i] = int64_t(prompts_.controls_in(*tasks[i].row).size());
    }
  });
  everyone.all_reduce_host(std::span<int64_t>(controls), parallel::ReduceOp::sum);
  data::ControlCount count;
  for (size_t i = 0; i < tasks.size(); ++i) count.add(controls[i], tasks[i].row->where);
  if (const auto remark = count.text(prompts_.controls(), "row"); !remark.empty()) {
    log_warning("judged rows: {}", remark);
  }
  everyone.all_reduce_host(most, parallel::ReduceOp::max);
  return most[0] + options_.generation.max_tokens;
}

std::vector<JudgeOutput> Judge::answers(inference::Engine& engine, std::span<const JudgeTask> tasks,
                                        const std::function<void()>& beat) const {
  const auto& how = options_.generation;
  inference::Scheduler scheduler(
      engine, {.slots = options_.texts, .cache = how.cache, .vocab_size = vocab_size_});
  std::vector<JudgeOutput> outputs;
  // By the request's number: whose answer it is, and its ids.
  std::vector<std::pair<size_t, size_t>> place;
  std::vector<std::vector<int32_t>> generated;
  for (size_t i = 0; i < tasks.size(); ++i) {
    const JudgeTask& task = tasks[i];
    JudgeOutput& output = outputs.emplace_back();
    for (const bool chosen_is_a : orders(task)) {
      beat();
      JudgePrompt prompt = prompts_.prompt(*task.row, task.file, chosen_is_a);
      output.push_back({.chosen_is_a = chosen_is_a,
                        .prompt_tokens = prompt.whole_tokens,
                        .truncated = prompt.truncated,
                        .skipped = prompt.skipped});
      if (prompt.skipped) continue;
      inference::Sampling sampling = how.sampling;
      sampling.stream = stream_of(task, chosen_is_a);
      scheduler.submit({.prompt = std::move(prompt.ids),
                        .max_tokens = how.max_tokens,
                        .sampling = sampling,
                        .ignore_eos = how.ignore_eos});
      place.emplace_back(i, output.size() - 1);
      generated.emplace_back();
    }
  }
  while (!scheduler.idle()) {
    beat();
    for (const inference::Event& event : scheduler.step()) {
      if (event.error != nullptr) std::rethrow_exception(event.error);
      if (event.token) generated[size_t(event.request)].push_back(event.token->id);
    }
  }
  for (size_t n = 0; n < place.size(); ++n) {
    JudgeAnswer& answer = outputs[place[n].first][place[n].second];
    answer.output_tokens = int64_t(generated[n].size());
    answer.text = tokenizer_->decode(generated[n]);
  }
  return outputs;
}

std::vector<JudgeOutput> Judge::judge(inference::Engine& engine, std::span<const JudgeTask> tasks,
                                      const std::function<void()>& beat) const {
  parallel::Communicator& data = engine.mesh().data();
  const auto n = size_t(data.size());
  std::vector<JudgeTask> own;
  for (size_t i = size_t(data.rank()); i < tasks.size(); i += n) own.push_back(tasks[i]);
  Json mine = Json::array();
  for (const JudgeOutput& output : answers(engine, own, beat)) mine.push_back(to_json(output));
  const std::vector<std::string> all = data.all_gather_host(mine.dump());
  std::vector<JudgeOutput> outputs(tasks.size());
  for (size_t rank = 0; rank < n; ++rank) {
    const Json theirs = Json::parse(all[rank]);
    for (size_t k = 0; k < theirs.size(); ++k) outputs[rank + k * n] = from_json(theirs[k]);
  }
  return outputs;
}

}  // namespace elastron::reward
