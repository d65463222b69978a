#include "train/reward_workload.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>
#include <numeric>

#include "parallel/agree.h"
#include "train/evaluate/pair_scorer.h"
#include "train/positions.h"

namespace elastron::train {

namespace {
constexpr const char* kMean = "reward_mean";
constexpr const char* kDeviation = "reward_std";
}  // namespace

void RewardScale::add_to(NamedValues& values) const {
  values[kMean] = fmt::format("{}", mean);
  values[kDeviation] = fmt::format("{}", deviation);
}

std::optional<RewardScale> RewardScale::from(const NamedValues& values) {
  const auto mean = values.find(kMean), deviation = values.find(kDeviation);
  if (mean == values.end() || deviation == values.end()) return {};
  return RewardScale{.mean = std::strtod(mean->second.c_str(), nullptr),
                     .deviation = std::strtod(deviation->second.c_str(), nullptr)};
}

reward::PairModel pair_model(const Config& config, Session& session) {
  const model::ModelConfig& m = session.decoder().config();
  m.end_of_document();  // there must be one
  return {.tokenizer = session.tokenizer(),
          .eos = m.eos_token_ids,
          .folder = config.model.path,
          .padding = m.classifier_padding()};
}

RewardWorkload::RewardWorkload(const Config& config, parallel::Mesh& mesh, Device& device,
                               Session& session)
    : config_(config),
      mesh_(mesh),
      device_(device),
      session_(session),
      loss_(config.reward, session.decoder(), session.head(), config.train.loss.chunk_rows,
            mesh.context()) {
  parallel::on_all_ranks(mesh.world(), [&] {
    const auto model = pair_model(config, session);
    reward::RewardConfig pairs = config.reward;
    pairs.share_prompts = pairs.share_prompts && config.router.head_pattern().by_position_only();
    source_ = reward::open_pair_source(config.data, pairs, reward::PairUse::training, model);
    if (config.eval.every > 0) {
      evaluation_ =
          reward::open_pair_source(config.data, pairs, reward::PairUse::evaluation, model);
    }
    check_positions(config, session.decoder().config(), {source_.get(), evaluation_.get()},
                    /*trains=*/true);
  });
}

Workload::Evaluated RewardWorkload::evaluate(const std::function<void()>& beat) {
  auto gates = session_.model().evaluation_gates();
  PairScorer scorer(config_, mesh_, device_, session_.decoder(), gates, session_.head());
  std::vector<int64_t> groups(size_t(scorer.groups(*evaluation_)));
  std::iota(groups.begin(), groups.end(), int64_t(0));
  const auto scored = scorer.score(*evaluation_, groups, beat);

  std::vector<reward::JudgedPair> all;
  std::map<std::string, std::vector<reward::JudgedPair>> by_kind;
  std::vector<double> rewards;
  double loss = 0, msr = 0, margin = 0;
  for (const ScoredPair& pair : scored) {
    all.push_back(pair.figures);
    by_kind[evaluation_->kinds()[size_t(pair.kind_id)]].push_back(pair.figures);
    rewards.insert(rewards.end(), {pair.figures.chosen, pair.figures.rejected});
    loss += pair.loss / double(scored.size());
    msr += pair.msr / double(scored.size());
    margin += pair.figures.margin() / double(scored.size());
  }
  parallel::on_all_ranks(mesh_.world(), [&] {
    if (std::isfinite(loss)) return;
    throw NumericalError("the loss is not finite", "evaluation",
                         "check the checkpoint and the data, or compute in float32");
  });
  const reward::Moments moments = reward::moments(rewards);
  scale_ = RewardScale{.mean = moments.mean, .deviation = std::max(moments.deviation, 1e-8)};
  const reward::Accuracy accuracy = reward::accuracy(all);
  const reward::LengthBias bias = reward::length_bias(all);

  Evaluated out{.loss = loss,
                .line = fmt::format("loss {:.4f} | accuracy {:.3f} (longer wins {:.3f}) | margin "
                                    "{:.3f} | msr {:.2f}",
                                    loss, accuracy.strict(), bias.longer_wins, margin, msr)};
  auto kinds = nlohmann::ordered_json::object();
  for (const auto& [kind, pairs] : by_kind) {
    kinds[kind] = reward::accuracy(pairs).strict();
    out.line += fmt::format(" | {} {:.3f}", kind, reward::accuracy(pairs).strict());
  }
  out.figures = {{"eval_loss", loss},
                 {"eval_accuracy", accuracy.strict()},
                 {"eval_accuracy_tie_aware", accuracy.tie_aware()},
                 {"eval_longer_wins", bias.longer_wins},
                 {"eval_margin_mean", margin},
                 {"eval_reward_mean", moments.mean},
                 {"eval_reward_std", moments.deviation},
                 {"eval_msr", msr},
                 {"eval_accuracy_by_kind", kinds}};
  return out;
}

void RewardWorkload::add_state(NamedValues& values) const {
  if (scale_) scale_->add_to(values);
}

void RewardWorkload::restore(const NamedValues& values) { scale_ = RewardScale::from(values); }

}  // namespace elastron::train
