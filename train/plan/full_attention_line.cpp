#include "train/plan/full_attention_line.h"

#include <fmt/format.h>

#include "model/attention_exchange.h"
#include "ops/attention_means.h"
#include "train/plan/planned_batch.h"

namespace elastron::train {

ops::FullAttentionQuestion full_attention_question(const Config& config,
                                                   const model::ModelConfig& model,
                                                   const parallel::MeshLayout& layout) {
  const bool exchanges = config.parallel.context_kind == ContextKind::ulysses;
  int64_t kv_heads = model.kv_heads / layout.tensor;
  kv_heads /= exchanges ? layout.context : model::kv_head_groups(kv_heads, layout.context);
  const ops::HeadPattern pattern =
      config.has_routers() ? config.router.head_pattern() : ops::HeadPattern{};
  return {.dtype = config.model.compute_dtype(),
          .q_heads = kv_heads * (model.q_heads / model.kv_heads),
          .kv_heads = kv_heads,
          .head_dim = model.head_dim,
          .sets = pattern.kinds(),
          .longest = micro_batch_tokens(config),
          .own_keys = layout.context > 1 && !exchanges,
          .by = config.model.full_attention};
}

std::string full_attention_line(const Config& config, const model::ModelConfig& model,
                                const parallel::MeshLayout& layout, Device& device) {
  using By = ops::FullAttentionBy;
  if (device.behaves_as() != DeviceKind::cuda || config.model.full_attention == By::own ||
      config.model.compute_dtype() != DType::bf16) {
    return "";
  }
  const auto way = ops::full_attention_way(device, full_attention_question(config, model, layout));
  if (!way.forward && !way.backward) return "by our own kernels: " + way.why;
  std::string none;
  const std::string library = ops::full_attention_library(device, none);
  std::string line = "by " + library;
  if (!way.forward || !way.backward) {
    line = fmt::format("{} by {}, {} by our own kernels ({})", way.forward ? "forward" : "backward",
                       library, way.forward ? "backward" : "forward", way.why);
  }
  if (way.from > 1) line += fmt::format(" from {} tokens on", way.from);
  return line;
}

}  // namespace elastron::train
