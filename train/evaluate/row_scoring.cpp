#include "train/evaluate/row_scoring.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/file/checksum.h"
#include "core/log.h"
#include "core/plural.h"
#include "core/progress.h"
#include "parallel/agree.h"

namespace elastron::train {

RowScoring::RowScoring(RowsToScore& rows, parallel::Mesh& mesh, Device& device,
                       const std::string& out, reward::EvaluationIdentity of_rows)
    : rows_(rows),
      mesh_(mesh),
      device_(device),
      config_(with_stored_router(rows.config(), mesh, device)) {
  open_models();
  parallel::on_all_ranks(rows_.everyone(), [&] {
    if (rows_.everyone().rank() != 0) return;
    file_ = std::make_unique<reward::JudgedRowsFile>(out, identity(std::move(of_rows)),
                                                     reward::names_of(rows_.files()));
  });
}

void RowScoring::open_models() {
  trained_.emplace(config_, mesh_, device_, rows_.checkpoint());
  parallel::on_all_ranks(mesh_.world(), [&] {
    if (rows_.checkpoint() || !trained_->session().head_is_new()) return;
    throw UsageError("the model has no reward head", "--checkpoint",
                     "name a checkpoint, or set model.path to a model with score.weight");
  });
  // A head as it would be drawn for another run, on the backbone as it was.
  if (rows_.options().untrained && config_.has_reward_head()) {
    parallel::on_all_ranks(mesh_.world(), [&] {
      untrained_ = std::make_unique<reward::RewardHead>(
          trained_->session().decoder().config().hidden_size,
          accumulator_dtype(config_.model.compute_dtype()), uint64_t(config_.train.seed) + 1,
          /*trainable=*/false, device_);
    });
    const bool moved = config_.trains(Part::backbone) || config_.has_lora() ||
                       config_.has_routers() || config_.router.force != "none";
    if (moved) before_.emplace(as_it_was(config_), mesh_, device_, std::nullopt);
  }
  const auto scorer = [&](RewardModel& model, const reward::RewardHead* head,
                          const reward::RewardHead* other) {
    return PairScorer(config_, mesh_, device_, model.session().decoder(), model.gates(), head,
                      other);
  };
  pairs_.emplace(
      scorer(*trained_, trained_->session().head(), before_ ? nullptr : untrained_.get()));
  if (before_) pairs_before_.emplace(scorer(*before_, untrained_.get(), nullptr));
}

reward::EvaluationIdentity RowScoring::identity(reward::EvaluationIdentity of_rows) {
  const auto& checkpoint = rows_.checkpoint();
  of_rows["judge"] = "discriminative";
  of_rows["model"] = trained_->session().backbone_fingerprint();
  of_rows["weights"] = checkpoint
                           ? fmt::format("{} at step {}", checkpoint->path, checkpoint->header.step)
                           : "model folder";
  of_rows["limit"] = fmt::format("{}, {}", rows_.options().limit,
                                 config::enum_name(config_.reward.evaluation_overlong()));
  of_rows["settings"] = fmt::format("group {}, untrained {}, force {}, dtype {}", pairs_->group(),
                                    rows_.options().untrained, config_.router.force,
                                    config::enum_name(config_.model.dtype));
  if (config_.model.storage != WeightsKept::automatic) {
    of_rows["settings"] += fmt::format(", storage {}", config::enum_name(config_.model.storage));
  }
  // Everything else that a score may depend on.
  Config model;
  model.router = config_.router;
  model.reward = config_.reward;
  model.train.trainable = config_.train.trainable;
  model.train.lora = config_.train.lora;
  model.train.seed = config_.train.seed;
  model.data.chat_template = config_.data.chat_template;
  model.data.control_tokens = rows_.reader().controls();
  Checksum sum;
  sum.add(config::dump_config(model));
  of_rows["router, reward and adapters"] = sum.digest();
  return of_rows;
}

bool RowScoring::run(const LongRun& around) {
  parallel::on_all_ranks(rows_.everyone(), [&] {
    if (file_) append_skipped();
  });
  const auto groups = missing_groups();
  const int64_t all = pairs_->groups(rows_.source());
  if (int64_t(groups.size()) < all) {
    log_info("going on: {} of {} are left", groups.size(),
             plural(all, "group of rows", "groups of rows"));
  }
  const auto at_a_time = size_t(mesh_.data().size());
  Progress progress(rows_.everyone().rank() == 0);
  for (size_t begin = 0; begin < groups.size(); begin += at_a_time) {
    const auto now = std::span(groups).subspan(begin, std::min(at_a_time, groups.size() - begin));
    if (file_) {
      progress.show("judging", begin, groups.size(),
                    fmt::format("{} of {}", file_->rows().size(), plural(rows_.lines(), "row")));
    }
    const auto scored = score(now, around.beat);
    parallel::on_all_ranks(rows_.everyone(), [&] {
      if (file_) append(now, scored);
    });
    const bool more = begin + at_a_time < groups.size();
    if (more && parallel::on_any_rank(rows_.everyone(), around.stop_requested())) return false;
  }
  return true;
}

std::vector<reward::JudgedRow> RowScoring::finish() {
  std::vector<reward::JudgedRow> rows;
  parallel::on_all_ranks(rows_.everyone(), [&] {
    if (file_) rows = file_->finish();
  });
  return rows;
}

std::vector<ScoredPair> RowScoring::score(std::span<const int64_t> groups,
                                          const std::function<void()>& beat) {
  auto scored = pairs_->score(rows_.source(), groups, beat);
  if (pairs_before_) {
    const auto base = pairs_before_->score(rows_.source(), groups, beat);
    for (size_t i = 0; i < scored.size(); ++i) {
      scored[i].untrained_chosen = base[i].figures.chosen;
      scored[i].untrained_rejected = base[i].figures.rejected;
    }
  }
  return scored;
}

std::span<const reward::SizedRow* const> RowScoring::rows_of(int64_t group) const {
  const auto& usable = rows_.usable();
  const auto begin = size_t(group * pairs_->group());
  return std::span(usable).subspan(begin, std::min(size_t(pairs_->group()), usable.size() - begin));
}

// They are scored whole, so that every row has the same company as in an evaluation that was not
// interrupted.
std::vector<int64_t> RowScoring::missing_groups() const {
  std::string missing;  // a letter per group
  if (file_) {
    for (int64_t g = 0; g < pairs_->groups(rows_.source()); ++g) {
      const bool done = std::ranges::all_of(rows_of(g), [&](const reward::SizedRow* r) {
        return file_->done(r->file->name, r->row->index);
      });
      missing += done ? '-' : '+';
    }
  }
  missing = rows_.everyone().broadcast_host(missing, 0);
  std::vector<int64_t> groups;
  for (size_t g = 0; g < missing.size(); ++g) {
    if (missing[g] == '+') groups.push_back(int64_t(g));
  }
  return groups;
}

// A row that cannot be scored stands in the file too, with the reason.
void RowScoring::append_skipped() {
  const auto skip = [&](const reward::EvaluationFile& of, const reward::PreferenceRow& row,
                        const std::string& reason, int64_t tokens) {
    if (file_->done(of.name, row.index)) return;
    auto judged = reward::unjudged(of, row, tokens);
    judged.skip_reason = reason;
    file_->append(std::move(judged));
  };
  for (const reward::EvaluationFile& of : rows_.files()) {
    for (const auto& row : of.content.bad_rows) skip(of, row, row.left_out, 0);
  }
  for (const reward::SizedRow& r : rows_.all()) {
    if (r.size.dropped == reward::DropReason::none) continue;
    skip(*r.file, *r.row, reward::drop_reason_text(r.size.dropped), r.size.all());
  }
}

void RowScoring::append(std::span<const int64_t> groups, const std::vector<ScoredPair>& scored) {
  auto next = scored.begin();
  for (const int64_t group : groups) {
    for (const reward::SizedRow* r : rows_of(group)) {
      const ScoredPair& pair = *next++;
      if (!file_->done(r->file->name, r->row->index)) file_->append(judged(*r, pair));
    }
  }
}

reward::JudgedRow RowScoring::judged(const reward::SizedRow& r, const ScoredPair& pair) const {
  auto row = reward::unjudged(*r.file, *r.row, r.size.all());
  row.tokens_chosen = r.size.prompt + r.size.chosen;
  row.tokens_rejected = r.size.prompt + r.size.rejected;
  row.truncated = r.size.truncated;
  row.scores = {.chosen = pair.figures.chosen, .rejected = pair.figures.rejected};
  const auto& scale = trained_->scale();
  if (config_.reward.normalize && scale) {
    row.scores = {.chosen = scale->apply(pair.figures.chosen),
                  .rejected = scale->apply(pair.figures.rejected)};
  }
  if (untrained_) {
    row.untrained = {.chosen = pair.untrained_chosen, .rejected = pair.untrained_rejected};
  }
  return row;
}

}  // namespace elastron::train
