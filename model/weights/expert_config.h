// What config.json says of a mixture of experts (Qwen3-MoE, as the transformers library reads it).
#pragma once
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "model/weights/config_reader.h"

namespace elastron::model {

struct ExpertConfig {
  int64_t count = 0;
  int64_t per_token = 0;   // that a token takes
  int64_t width = 0;       // of each expert's MLP
  bool normalise = false;  // a token's weights are divided by their sum
  // Layers that have them: every so many-th, but those.
  int64_t every = 1;
  std::vector<int64_t> dense_layers;

  bool in_layer(int64_t layer) const;
};

// The keys that say it.
inline constexpr std::string_view kExpertKeys[] = {
    "num_experts",    "num_local_experts", "num_experts_per_tok", "moe_intermediate_size",
    "norm_topk_prob", "mlp_only_layers",   "decoder_sparse_step"};

// Of a family that has experts; nothing where their number is 0. Throws a ConfigFault.
std::optional<ExpertConfig> read_experts(const ConfigReader& config);

}  // namespace elastron::model
