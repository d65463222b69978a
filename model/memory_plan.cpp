#include "model/memory_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace elastron::model {

namespace {

// Bytes of one layer's tensors on this rank, named as in decoder_layer.h.
struct LayerBytes {
  LayerBytes(const ModelConfig& c, const DecoderOptions& options, int ranks, int64_t tokens,
             bool gate_gradient) {
    const int64_t item = dtype_size(options.dtype);
    const int64_t number = dtype_size(accumulator_dtype(options.dtype));
    const int64_t q_heads = c.q_heads / ranks, kv_heads = c.kv_heads / ranks;
    hidden = tokens * c.hidden_size * item;
    inv_rms = tokens * number;
    q = tokens * q_heads * c.head_dim * item;
    kv = tokens * kv_heads * c.head_dim * item;
    q_rows = tokens * q_heads * number;
    mlp = tokens * c.intermediate_size / ranks * item;
    projections = q + 2 * kv + inv_rms;
    if (c.qk_norm) projections += q + kv + q_rows + tokens * kv_heads * number;
    selected = q + q_rows;
    attention = selected + (gate_gradient ? selected : 0);
    gate_up = 2 * mlp + inv_rms;
    if (options.train_backbone || (options.lora && options.train_lora)) {
      projections += hidden;
      gate_up += hidden;
    }
    saved = hidden;
    if (options.recompute != Recompute::layer) saved += attention + hidden;
    if (options.recompute == Recompute::none) saved += projections + gate_up;
  }
  int64_t hidden, inv_rms, q, kv, q_rows, mlp;
  int64_t projections, selected, attention, gate_up;
  int64_t saved;
};

int64_t weight_bytes(const ModelConfig& c, const DecoderOptions& options, int ranks,
                     int optimizer_ranks) {
  const int64_t e = c.hidden_size;
  const int64_t split = 2 * e * (c.q_heads + c.kv_heads) * c.head_dim + 3 * e * c.intermediate_size;
  const int64_t norms = 2 * e + (c.qk_norm ? 2 * c.head_dim : 0);
  const int64_t tables = c.tie_word_embeddings || !options.lm_head ? 1 : 2;
  const int64_t elements = c.num_layers * (split / ranks + norms) + e +
                           tables * ((c.vocab_size + ranks - 1) / ranks) * e;
  const int64_t master = dtype_size(accumulator_dtype(options.dtype));
  int64_t each = dtype_size(options.dtype), state = 0;
  if (options.train_backbone) {
    each += master;      // gradient
    state = 2 * master;  // moments
    if (accumulator_dtype(options.dtype) != options.dtype) state += master;
  }
  return elements * each + (elements * state + optimizer_ranks - 1) / optimizer_ranks;
}

}  // namespace

MemoryPlan plan_memory(const ModelConfig& config, const DecoderOptions& options, int tensor_ranks,
                       int64_t tokens, bool gate_gradient, const ops::AttentionWorkspace& attention,
                       int optimizer_ranks) {
  const LayerBytes l(config, options, tensor_ranks, tokens, gate_gradient);
  const int64_t chunk = std::min(options.loss_chunk_rows, tokens);
  const int64_t vocab = (config.vocab_size + tensor_ranks - 1) / tensor_ranks;
  const int64_t logits = options.lm_head ? chunk * vocab * dtype_size(options.dtype) : 0;
  const int64_t rows = chunk * config.hidden_size * dtype_size(options.dtype);
  const int64_t most_mlp = std::max(3 * l.mlp, 2 * l.mlp + 2 * l.hidden);
  // In the backward pass a layer holds what it kept, what it computed again, and these.
  const int64_t again = l.projections + l.attention + l.hidden;
  const int64_t kept = options.recompute == Recompute::layer ? 0 : l.attention + l.hidden;
  const bool recomputed = options.recompute != Recompute::none;
  // What the last layer's MLP leaves to be kept is counted there.
  const int64_t stays = options.recompute == Recompute::layer ? 0
                        : recomputed                          ? l.hidden
                                                              : l.hidden + 2 * l.mlp;
  const std::pair<const char*, int64_t> phases[] = {
      {"attention forward",
       (recomputed ? l.hidden + l.projections + l.attention : l.hidden + std::max(l.hidden, l.q)) +
           attention.forward},
      {"MLP forward", 2 * l.hidden + 3 * l.mlp - stays},
      {"loss", 3 * l.hidden + logits + 2 * rows},
      {"MLP backward",
       recomputed ? l.hidden + again - kept + most_mlp : l.hidden + most_mlp - 2 * l.mlp},
      {"attention backward", 2 * l.hidden + (recomputed ? again - kept : -2 * l.mlp) + 2 * l.q +
                                 2 * l.kv + 2 * l.q_rows + attention.backward},
  };
  const auto most =
      std::max_element(std::begin(phases), std::end(phases),
                       [](const auto& a, const auto& b) { return a.second < b.second; });
  return {.weights = weight_bytes(config, options, tensor_ranks, optimizer_ranks),
          .saved = config.num_layers * l.saved + l.hidden,
          .working = most->second,
          .phase = most->first};
}

std::string describe(const MemoryPlan& plan, int64_t tokens) {
  const bool large = plan.total() >= int64_t(1) << 30;
  const double unit = large ? 1 << 30 : 1 << 20;
  return fmt::format(
      "plan for {} tokens: {:.2f} {} = {:.2f} weights + {:.2f} saved + {:.2f} working ({})", tokens,
      double(plan.total()) / unit, large ? "GiB" : "MiB", double(plan.weights) / unit,
      double(plan.saved) / unit, double(plan.working) / unit, plan.phase);
}

}  // namespace elastron::model
