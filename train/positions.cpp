#include "train/positions.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "core/log.h"

namespace elastron::train {

void check_positions(BeyondPositions policy, const model::ModelConfig& model,
                     const std::string& what, int64_t longest, const std::string& shorter,
                     bool trains) {
  const int64_t covered = model.max_position_embeddings;
  if (longest <= covered || policy == BeyondPositions::allow) return;
  const std::string text =
      fmt::format("{} has {} tokens, the model's positions cover {}", what, longest, covered);
  const std::string where = model.where + ", max_position_embeddings";
  const bool ends =
      policy == BeyondPositions::error || (policy == BeyondPositions::automatic && trains);
  const std::string todo = fmt::format("{}, or use a model that covers so many", shorter);
  if (ends) {
    throw UsageError(text, where, todo + ", or set model.beyond_positions: warn to go on");
  }
  log_warning_once(fmt::format("{} ({}): {}", text, where, todo));
}

void check_positions(const Config& config, const model::ModelConfig& model, const std::string& what,
                     std::initializer_list<const data::BatchSource*> sources, bool trains) {
  int64_t longest = 0;
  for (const data::BatchSource* source : sources) {
    if (source != nullptr) longest = std::max(longest, source->longest());
  }
  check_positions(config.model.beyond_positions, model, what, longest,
                  fmt::format("set data.max_tokens to {}", model.max_position_embeddings), trains);
}

}  // namespace elastron::train
