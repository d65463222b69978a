#include "train/positions.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/log.h"

namespace elastron::train {

namespace {

// Folders of Qwen3 say 40,960: 32,768 positions, which its cards stretch, and room for an answer.
constexpr int64_t kQwen3Positions = 40960, kQwen3Original = 32768;

double original_positions(const model::ModelConfig& model) {
  const int64_t positions = model.max_position_embeddings;
  const bool qwen3 = model.architecture.starts_with("Qwen3") && positions == kQwen3Positions;
  return double(qwen3 ? kQwen3Original : positions);
}

// The setting that would cover `longest`, with the smallest factor in halves; empty where the model's
// own scaling is not one that another can be put in the place of.
std::string yarn_setting(const model::ModelConfig& model, int64_t longest) {
  const auto* yarn = std::get_if<ops::YarnRopeScaling>(&model.rope.scaling);
  const bool plain = std::holds_alternative<std::monostate>(model.rope.scaling);
  if (yarn == nullptr && !plain) return "";
  const double original = yarn != nullptr ? yarn->original_max_position : original_positions(model);
  const double factor = std::ceil(2 * double(longest) / original) / 2;
  return fmt::format("{{rope_type: yarn, factor: {:.1f}, original_max_position_embeddings: {}}}",
                     factor, int64_t(original));
}

}  // namespace

void check_positions(BeyondPositions policy, const model::ModelConfig& model,
                     const std::string& what, int64_t longest, const std::string& shorter,
                     bool trains) {
  const int64_t covered = model.covered_positions;
  if (longest <= covered || policy == BeyondPositions::allow) return;
  const std::string text =
      fmt::format("{} has {} tokens, the model's positions cover {}", what, longest, covered);
  const bool scaled = covered != model.max_position_embeddings;
  const std::string where = model.where + (scaled ? ", rope scaling" : ", max_position_embeddings");
  const bool ends =
      policy == BeyondPositions::error || (policy == BeyondPositions::automatic && trains);
  const std::string yarn = yarn_setting(model, longest);
  const std::string todo =
      yarn.empty()
          ? fmt::format("{}, or use a model that covers so many", shorter)
          : fmt::format("{}, use a model that covers so many, or set model.rope_scaling: {}",
                        shorter, yarn);
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
                  fmt::format("set data.max_tokens to {}", model.covered_positions), trains);
}

}  // namespace elastron::train
