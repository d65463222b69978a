// Low-rank adapters (LoRA, Hu et al. 2021) beside the frozen linear layers of a decoder.
#pragma once
#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/layer_shape.h"

namespace elastron::model {

struct LoraConfig {
  int64_t rank = 16;
  double alpha = 32;  // the product of the factors counts alpha / rank times
  std::vector<std::string> targets{kLinearNames.begin(), kLinearNames.end()};

  double scale() const { return alpha / double(rank); }
  bool adapts(std::string_view linear) const {
    return std::ranges::find(targets, linear) != targets.end();
  }
};

// Throws a UsageError where a target is a linear of an MLP and the model has experts: these have no
// adapters.
void check_adapters(const ModelConfig& config, const LoraConfig& lora);

}  // namespace elastron::model
