#include "train/metrics/scalar_tags.h"

#include <string_view>
#include <utility>

namespace elastron::train {

namespace {

// Keys of the file -> tags; an object's keys are appended to its tag.
constexpr std::pair<std::string_view, std::string_view> kTags[] = {
    {"loss", "train/loss"},
    {"lm_loss", "train/lm_loss"},
    {"sparsity_loss", "train/sparsity_loss"},
    {"grad_norm", "train/grad_norm"},
    {"lr_router", "train/lr/router"},
    {"lr_lambda", "train/lr/lambda"},
    {"lr_backbone", "train/lr/backbone"},
    {"lr_head", "train/lr/head"},
    {"lr_lora", "train/lr/lora"},
    {"pair_loss", "train/pair_loss"},
    {"accuracy", "reward/accuracy"},
    {"margin_mean", "reward/margin_mean"},
    {"reward_chosen_mean", "reward/chosen_mean"},
    {"reward_rejected_mean", "reward/rejected_mean"},
    {"reward_std", "reward/std"},
    {"pairs_per_second", "perf/pairs_per_second"},
    {"msr", "router/msr"},
    {"msr_by_task", "router/msr"},
    {"esr_all_layers_area", "router/esr"},
    {"esr_by_task", "router/esr"},
    {"entropy_by_task", "router/entropy"},
    {"target_by_task", "router/target"},
    {"lambda1", "router/lambda1"},
    {"lambda2", "router/lambda2"},
    {"tau", "router/tau"},
    {"eval_loss", "eval/loss"},
    {"eval_accuracy", "eval/accuracy"},
    {"eval_msr", "eval/msr"},
    {"eval_accuracy_by_kind", "eval/accuracy"},
    {"eval_accuracy_tie_aware", "eval/accuracy_tie_aware"},
    {"eval_margin_mean", "eval/margin_mean"},
    {"eval_reward_mean", "eval/reward_mean"},
    {"eval_reward_std", "eval/reward_std"},
    {"eval_longer_wins", "eval/longer_wins"},
    {"tokens_per_second", "perf/tokens_per_second"},
    {"step_seconds", "perf/step_seconds"},
    {"imbalance", "perf/imbalance"},
    {"predicted_imbalance", "perf/predicted_imbalance"},
    {"flops_done_fraction", "perf/flops_done_fraction"},
    {"dense_equivalent_tflops", "perf/dense_equivalent_tflops"},
    {"peak_memory_bytes", "memory/peak_bytes"},
};

}  // namespace

std::map<std::string, double> scalars_by_tag(const nlohmann::ordered_json& metrics) {
  std::map<std::string, double> scalars;
  const auto add = [&](const std::string& tag, const nlohmann::ordered_json& value) {
    if (value.is_number()) scalars[tag] = value.get<double>();
  };
  for (const auto& [key, tag] : kTags) {
    const auto found = metrics.find(std::string(key));
    if (found == metrics.end()) continue;
    add(std::string(tag), *found);
    if (!found->is_object()) continue;
    for (const auto& [name, value] : found->items()) add(std::string(tag) + "/" + name, value);
  }
  return scalars;
}

}  // namespace elastron::train
