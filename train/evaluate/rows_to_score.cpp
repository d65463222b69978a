#include "train/evaluate/rows_to_score.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "parallel/agree.h"
#include "train/positions.h"

namespace elastron::train {

RowsToScore::RowsToScore(const Config& config, parallel::World& world,
                         const std::vector<reward::EvaluationFile>& files,
                         const ScoreOptions& options)
    : files_(files),
      options_(options),
      everyone_(world.split(0, world.rank(), "world")),
      checkpoint_(find_reward_checkpoint(options.checkpoint, config.output.dir, world)) {
  parallel::on_all_ranks(*everyone_, [&] { config_ = as_trained(config, checkpoint_); });
  open_reader();
  const auto policy = config_.reward.evaluation_overlong();
  rows_ = reward::measure_rows(files, *reader_, options.limit, policy, config_.reward.bad_rows,
                               *everyone_);
  std::vector<const reward::PreferenceRow*> rows;
  std::map<std::string, int64_t> dropped;
  int64_t longest = 2;
  for (const reward::SizedRow& r : rows_) {
    longest = std::max(longest, r.size.longest);
    if (r.size.dropped != reward::DropReason::none) {
      ++dropped[reward::drop_reason_text(r.size.dropped)];
      continue;
    }
    usable_.push_back(&r);
    rows.push_back(r.row);
  }
  parallel::on_all_ranks(*everyone_,
                         [&] { reward::expect_rows_left(files, int64_t(rows.size()), dropped); });
  source_.emplace(
      std::move(rows), *reader_, options.limit, policy,
      reward::PairBatchOptions{
          .share = config_.reward.share_prompts && config_.router.head_pattern().by_position_only(),
          .labels = !config_.has_reward_head(),
          .task_id = data::task_id(config_.reward.task)});
  config_.model.max_position.value = config_.data.max_tokens = longest;
  parallel::on_all_ranks(*everyone_, [&] {
    check_positions(config_.model.beyond_positions, *model_, "the longest sequence", longest,
                    fmt::format("set --limit to {}", model_->covered_positions),
                    /*trains=*/false);
  });
}

void RowsToScore::open_reader() {
  parallel::on_all_ranks(*everyone_, [&] {
    const std::string& folder = config_.model.path;
    tokenizer_ = data::load_tokenizer(folder);
    model_ = model::read_model_config(folder, config_.model.rope_scaling);
    model_->end_of_document();  // there must be one
    auto controls = config_.data.control_tokens;
    if (controls == data::ControlTokens::automatic) controls = data::ControlTokens::text;
    reader_.emplace(*tokenizer_, model_->eos_token_ids, folder, config_.data.chat_template,
                    controls, model_->classifier_padding());
  });
}

int64_t RowsToScore::lines() const {
  int64_t lines = 0;
  for (const reward::EvaluationFile& file : files_) lines += file.content.lines();
  return lines;
}

}  // namespace elastron::train
