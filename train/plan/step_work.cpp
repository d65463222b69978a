#include "train/plan/step_work.h"

#include "ops/attention/streaming_rule.h"
#include "train/plan/planned_batch.h"
#include "train/plan/planned_step.h"

namespace elastron::train {

double StepWork::Rates::of(const WorkAmounts& a) const {
  return token * a.tokens + label * a.labels + document * a.documents + both_pair * a.both_pairs +
         selected_pair * a.selected_pairs;
}

StepWork::Rates StepWork::rates_of(const Config& whole, const model::ModelConfig& model) {
  // Operations are proportional to what they are divided by here: any small batch tells the rates.
  // Its heads are all dense, so that each branch and both of them see the causal pairs.
  constexpr int64_t kTokens = 64;
  Config config = whole;
  config.data.max_tokens = kTokens;
  config.data.label_mode = data::LabelMode::all;
  config.train.micro_batch = 1;
  config.model.max_position = {};
  config.parallel.sequence = false;
  const auto batch = planned_batch(config, 0);
  const PlannedStep step =
      plan_step(config, model, {1, 1, 1}, DeviceKind::cuda, {.msr = 0, .xattention = 1});
  const auto roles = roles_of(step.ranges);
  const double pairs = double(batch.sequences() * ops::causal_pairs(kTokens));
  Rates rates;
  for (size_t i = 0; i < step.ranges.size(); ++i) {
    for (const OpRecord& op : step.ranges[i].ops) {
      const double flops = op.sum.flops;
      switch (op.sum.kind) {
        case WorkKind::products:
          if (roles[i].router) {
            rates.document += flops / double(batch.documents());
          } else if (roles[i].part == StepPart::loss) {
            rates.label += flops / double(batch.labels());
          } else {
            rates.token += flops / double(batch.tokens());
          }
          break;
        case WorkKind::attention_both: rates.both_pair += flops / pairs; break;
        case WorkKind::attention_selected:
        case WorkKind::attention_backward: rates.selected_pair += flops / pairs; break;
        case WorkKind::block_choice:
        case WorkKind::memory: break;
      }
    }
  }
  return rates;
}

namespace {

// The same training where every head has full attention, and nothing decides otherwise.
Config dense(Config config) {
  config.train.recompute = model::Recompute::none;
  config.router.mode = router::Mode::fa_ssa;
  return config;
}

}  // namespace

StepWork::StepWork(const Config& config, const model::ModelConfig& model)
    : done_(rates_of(config, model)), dense_(rates_of(dense(config), model)) {
  // A pass over the pairs forward, of the one branch there is.
  dense_.selected_pair += dense_.both_pair;
  dense_.both_pair = dense_.document = 0;
}

double StepWork::done(const WorkAmounts& amounts) const { return done_.of(amounts); }

double StepWork::dense_equivalent(const WorkAmounts& amounts, double full_pairs) const {
  WorkAmounts all = amounts;
  all.selected_pairs = full_pairs;
  return dense_.of(all);
}

}  // namespace elastron::train
