// Low-rank adapters (LoRA, Hu et al. 2021) beside the frozen linear layers of a decoder.
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace elastron::model {

// Names of the linear layers of a decoder layer, as in Hugging Face's modules.
inline constexpr std::array<const char*, 7> kLinearNames = {
    "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"};

struct LoraConfig {
  int64_t rank = 16;
  double alpha = 32;  // the product of the factors counts alpha / rank times
  std::vector<std::string> targets = {"q_proj",    "k_proj",  "v_proj",   "o_proj",
                                      "gate_proj", "up_proj", "down_proj"};

  double scale() const { return alpha / double(rank); }
  bool adapts(const std::string& linear) const {
    return std::ranges::find(targets, linear) != targets.end();
  }
};

}  // namespace elastron::model
