#include "train/workload/reward.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>
#include <numeric>

#include "parallel/agree.h"
#include "train/evaluate/pair_scorer.h"
#include "train/positions.h"
#include "train/workload/planned_pack.h"
#include "train/workload/registry.h"
#include "train/workload/reward_loss.h"

namespace elastron::train {

namespace {

constexpr const char* kMean = "reward_mean";
constexpr const char* kDeviation = "reward_std";

PairSums sums_of(const StepReport& r) { return from_numbers<PairSums>(r.result.loss_sums); }

template <double (PairSums::*figure)() const>
std::optional<FigureValue> of_pairs(const StepReport& r) {
  return (sums_of(r).*figure)();
}

const Figure kLoss[] = {
    {{"pair_loss", "train/pair_loss", "nats", "mean loss of the step's pairs"},
     Sum{&StepSums::data_loss},
     [](const StepReport& r) {
       const PairSums pairs = sums_of(r);
       return fmt::format("{} {:.4f} | accuracy {:.3f} | margin {:.3f}",
                          config::enum_name(r.config.reward.loss), r.result.sums.data_loss,
                          pairs.accuracy(), pairs.margin_mean());
     }},
};

const Figure kOfStep[] = {
    {{"accuracy", "reward/accuracy", "share", "pairs of the step judged right; a tie is wrong"},
     Told(of_pairs<&PairSums::accuracy>)},
    {{"margin_mean", "reward/margin_mean", "reward", "chosen - rejected"},
     Told(of_pairs<&PairSums::margin_mean>)},
    {{"reward_chosen_mean", "reward/chosen_mean", "reward", "of the chosen responses"},
     Told(of_pairs<&PairSums::chosen_mean>)},
    {{"reward_rejected_mean", "reward/rejected_mean", "reward", "of the rejected ones"},
     Told(of_pairs<&PairSums::rejected_mean>)},
    {{"reward_std", "reward/std", "reward", "deviation of all rewards of the step"},
     Told(of_pairs<&PairSums::deviation>)},
    {{"pairs", "", "pairs", "of the step"},
     Told([](const StepReport& r) -> std::optional<FigureValue> {
       return int64_t(sums_of(r).pairs);
     })},
    {{"pairs_per_second", "perf/pairs_per_second", "1/s", "since the last logged step"},
     Told([](const StepReport& r) -> std::optional<FigureValue> {
       return r.per_second(from_numbers<PairSums>(r.loss_sums).pairs);
     })},
    {{"prompt_tokens_saved", "", "tokens", "that were not computed again for each response"},
     Told([](const StepReport& r) -> std::optional<FigureValue> {
       return int64_t(r.result.sums.tokens_apart) - int64_t(r.result.sums.tokens);
     })},
};

// The figures of an evaluation.
struct PairEvaluation {
  double loss = 0, msr = 0, margin = 0;
  reward::Moments rewards;
  reward::Accuracy accuracy;
  reward::LengthBias bias;
  std::map<std::string, double> accuracy_by_kind;  // strict
};

const FigureOf<PairEvaluation> kEvaluation[] = {
    {{"eval_loss", "eval/loss", "nats", "mean loss of the pairs; the lowest one is the best"},
     [](const PairEvaluation& e) -> FigureValue { return e.loss; }},
    {{"eval_accuracy", "eval/accuracy", "share", "pairs judged right; a tie is wrong"},
     [](const PairEvaluation& e) -> FigureValue { return e.accuracy.strict(); }},
    {{"eval_accuracy_tie_aware", "eval/accuracy_tie_aware", "share", "a tie is worth a half"},
     [](const PairEvaluation& e) -> FigureValue { return e.accuracy.tie_aware(); }},
    {{"eval_longer_wins", "eval/longer_wins", "share",
      "pairs whose longer response has the higher reward"},
     [](const PairEvaluation& e) -> FigureValue { return e.bias.longer_wins; }},
    {{"eval_margin_mean", "eval/margin_mean", "reward", "chosen - rejected"},
     [](const PairEvaluation& e) -> FigureValue { return e.margin; }},
    {{"eval_reward_mean", "eval/reward_mean", "reward", "of all responses"},
     [](const PairEvaluation& e) -> FigureValue { return e.rewards.mean; }},
    {{"eval_reward_std", "eval/reward_std", "reward", "deviation of all rewards"},
     [](const PairEvaluation& e) -> FigureValue { return e.rewards.deviation; }},
    {{"eval_msr", "eval/msr", "share", "(layer, kv head) pairs that ran sparse"},
     [](const PairEvaluation& e) -> FigureValue { return e.msr; }},
    {{"eval_accuracy_by_kind", "eval/accuracy", "share",
      "by kind of trace, or by setting; `pairs` for preference files"},
     [](const PairEvaluation& e) {
       FigureValue kinds = FigureValue::object();
       for (const auto& [kind, accuracy] : e.accuracy_by_kind) kinds[kind] = accuracy;
       return kinds;
     }},
};

std::string line_of(const PairEvaluation& e) {
  std::string line =
      fmt::format("loss {:.4f} | accuracy {:.3f} (longer wins {:.3f}) | margin {:.3f} | msr {:.2f}",
                  e.loss, e.accuracy.strict(), e.bias.longer_wins, e.margin, e.msr);
  for (const auto& [kind, accuracy] : e.accuracy_by_kind) {
    line += fmt::format(" | {} {:.3f}", kind, accuracy);
  }
  return line;
}

PairEvaluation figures_of_pairs(const std::vector<ScoredPair>& scored,
                                const std::vector<std::string>& kinds) {
  PairEvaluation e;
  std::vector<reward::JudgedPair> all;
  std::map<std::string, std::vector<reward::JudgedPair>> by_kind;
  std::vector<double> rewards;
  for (const ScoredPair& pair : scored) {
    all.push_back(pair.figures);
    by_kind[kinds[size_t(pair.kind_id)]].push_back(pair.figures);
    rewards.insert(rewards.end(), {pair.figures.chosen, pair.figures.rejected});
    e.loss += pair.loss / double(scored.size());
    e.msr += pair.msr / double(scored.size());
    e.margin += pair.figures.margin() / double(scored.size());
  }
  e.rewards = reward::moments(rewards);
  e.accuracy = reward::accuracy(all);
  e.bias = reward::length_bias(all);
  for (const auto& [kind, pairs] : by_kind) {
    e.accuracy_by_kind[kind] = reward::accuracy(pairs).strict();
  }
  return e;
}

class RewardObjective final : public Objective {
 public:
  bool trains_by_default(const Config& config, Part part) const override {
    return part == (has_reward_head(config) ? Part::reward_head : Part::lora);
  }
  bool may_train(Part) const override { return true; }
  bool has_reward_head(const Config& config) const override {
    return config.reward.loss == reward::LossKind::bradley_terry;
  }
  std::string stored_router(const Config& config) const override { return config.reward.router; }
  void check(const Config& c, config::Problems& problems) const override {
    const std::string key = "train.trainable";
    if (c.trains(Part::backbone) && c.trains(Part::lora)) {
      problems.add(key, "adapters stand beside frozen weights", "take backbone or lora out");
    }
    if (c.trains(Part::reward_head) && !c.has_reward_head()) {
      problems.add(key, "reward.loss: simpo has no reward head", "take reward_head out");
    }
    if (!c.has_reward_head() && !c.trains(Part::backbone) && !c.trains(Part::lora) &&
        !c.trains(Part::router)) {
      problems.add(key, "nothing trains", "use lora, router or backbone");
    }
  }
  void check_text_evaluation() const override {
    throw UsageError("reward models are evaluated on pairs", "train.objective",
                     "use elastron eval-reward");
  }

  std::unique_ptr<TrainingLoss> make_loss(const Config& config, model::Decoder& decoder,
                                          reward::RewardHead* head,
                                          parallel::Communicator& context) const override {
    return std::make_unique<RewardLoss>(config.reward, decoder, head, context);
  }
  // Two sequences of data.max_tokens; what their shared prompt saves is not known before.
  void add_planned_pack(const Config& config, int64_t, data::PackedBatch& batch) const override {
    const auto chosen = int32_t(batch.sequences()), pair = int32_t(batch.documents());
    batch.pairs.push_back({.chosen = chosen, .rejected = {chosen + 1}});
    for (int i = 0; i < 2; ++i) {
      add_planned_sequence(config.data.max_tokens, config.data.label_mode, batch);
      batch.document_of.push_back(pair);
      batch.prefix_of.push_back(-1);
    }
    add_planned_document(config.data.max_tokens, batch);
  }
  int64_t planned_pack_tokens(const Config& config) const override {
    return 2 * config.data.max_tokens;
  }
  ObjectiveFigures figures() const override {
    return {.loss = kLoss,
            .of_step = kOfStep,
            .of_evaluation = texts_of(std::span<const FigureOf<PairEvaluation>>(kEvaluation))};
  }
  std::unique_ptr<Workload> open(const Config& config, parallel::Mesh& mesh, Device& device,
                                 Session& session) const override {
    return std::make_unique<RewardWorkload>(config, mesh, device, session);
  }
};

}  // namespace

const Objective& reward_objective() {
  static const RewardObjective objective;
  return objective;
}

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
      loss_(session.model().make_loss()) {
  parallel::on_all_ranks(mesh.world(), [&] {
    const auto model = pair_model(config, session);
    reward::RewardConfig pairs = config.reward;
    pairs.share_prompts = pairs.share_prompts && config.router.head_pattern().by_position_only();
    source_ = reward::open_pair_source(config.data, pairs, reward::PairUse::training, model);
    if (config.eval.every > 0) {
      evaluation_ =
          reward::open_pair_source(config.data, pairs, reward::PairUse::evaluation, model);
    }
    check_positions(config, session.decoder().config(), "the longest sequence",
                    {source_.get(), evaluation_.get()}, /*trains=*/true);
  });
}

Workload::Evaluated RewardWorkload::evaluate(const std::function<void()>& beat) {
  auto gates = session_.model().evaluation_gates();
  PairScorer scorer(config_, mesh_, device_, session_.decoder(), gates, session_.head());
  std::vector<int64_t> groups(size_t(scorer.groups(*evaluation_)));
  std::iota(groups.begin(), groups.end(), int64_t(0));
  const auto scored = scorer.score(*evaluation_, groups, beat);

  const PairEvaluation e = figures_of_pairs(scored, evaluation_->kinds());
  parallel::on_all_ranks(mesh_.world(), [&] {
    if (std::isfinite(e.loss)) return;
    throw NumericalError("the loss is not finite", "evaluation",
                         "check the checkpoint and the data, or compute in float32");
  });
  scale_ = RewardScale{.mean = e.rewards.mean, .deviation = std::max(e.rewards.deviation, 1e-8)};
  return {
      .loss = e.loss, .line = line_of(e), .figures = figures_of<PairEvaluation>(kEvaluation, e)};
}

void RewardWorkload::add_state(NamedValues& values) const {
  if (scale_) scale_->add_to(values);
}

void RewardWorkload::restore(const NamedValues& values) { scale_ = RewardScale::from(values); }

}  // namespace elastron::train
