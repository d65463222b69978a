#include "model/weights/expert_config.h"

#include <algorithm>

#include "ops/expert_choice.h"

namespace elastron::model {

namespace {

constexpr int64_t kMostWidth = int64_t(1) << 24, kMostLayers = 4096;
// Where the keys are missing, as the transformers library takes them.
constexpr int64_t kCount = 128, kPerToken = 8, kWidth = 768;

// transformers 5 writes num_local_experts, older ones and the published folders num_experts.
int64_t read_count(const ConfigReader& c) {
  const char *key = "num_experts", *other = "num_local_experts";
  const int64_t count = c.integer(c.has(key) ? key : other, 0, ops::kMostExperts, kCount);
  if (c.has(key) && c.integer(other, 0, ops::kMostExperts, count) != count) {
    c.fail("'" + std::string(other) + "' is " + shown(c.at(other)) + ", '" + key + "' says " +
               std::to_string(count),
           "correct the one that is wrong");
  }
  return count;
}

}  // namespace

bool ExpertConfig::in_layer(int64_t layer) const {
  return (layer + 1) % every == 0 && std::ranges::find(dense_layers, layer) == dense_layers.end();
}

std::optional<ExpertConfig> read_experts(const ConfigReader& c) {
  ExpertConfig e{.count = read_count(c), .dense_layers = {}};
  if (e.count == 0) return {};
  e.per_token = c.integer("num_experts_per_tok", 1, ops::kMostChosen, kPerToken);
  if (e.per_token > e.count) {
    c.fail("'num_experts_per_tok' is " + std::to_string(e.per_token) + " of " +
               std::to_string(e.count) + " experts",
           "correct it");
  }
  e.width = c.integer("moe_intermediate_size", 1, kMostWidth, kWidth);
  e.normalise = c.boolean("norm_topk_prob", false);
  e.every = c.integer("decoder_sparse_step", 1, kMostLayers, 1);
  const char* dense = "mlp_only_layers";
  if (!c.has(dense)) return e;
  if (!c.at(dense).is_array()) {
    c.fail("'" + std::string(dense) + "' is " + shown(c.at(dense)) + ", not a list",
           "make it the numbers of layers");
  }
  for (const auto& layer : c.at(dense)) {
    e.dense_layers.push_back(c.whole_number(layer, dense, 0, kMostLayers));
  }
  return e;
}

}  // namespace elastron::model
