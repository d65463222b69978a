#include "train/plan/collectives.h"

#include <algorithm>
#include <utility>

#include "core/ceil_div.h"
#include "data/packed_batch.h"
#include "model/attention_exchange.h"
#include "model/memory_plan.h"
#include "router/attention_router.h"
#include "train/plan/gradients.h"
#include "train/plan/run_shape.h"

namespace elastron::train {

namespace {

class List {
 public:
  explicit List(const parallel::MeshLayout& layout) : layout_(layout) {}
  // `calls` of `bytes` each.
  void add(const char* operation, const char* axis, const char* what, int64_t bytes,
           int64_t calls) {
    add({operation, axis, what, bytes * calls, calls});
  }
  void add(PlannedCollective c) {
    const int size = c.axis == "tensor"    ? layout_.tensor
                     : c.axis == "context" ? layout_.context
                     : c.axis == "grad"    ? layout_.data * layout_.context
                                           : layout_.ranks();
    if (size > 1 && c.calls > 0) list.push_back(std::move(c));
  }
  std::vector<PlannedCollective> list;

 private:
  const parallel::MeshLayout& layout_;
};

}  // namespace

StepTokens step_tokens(const Config& config, const parallel::MeshLayout& layout) {
  StepTokens step{.tokens = micro_batch_tokens(config)};
  step.documents = ceil_div(step.tokens, config.data.max_tokens);
  // Of answers alone a small part of the tokens has labels.
  const int64_t rows = model::context_rows(step.tokens, layout.context, config.context_block());
  step.labels = config.data.label_mode == data::LabelMode::all ? rows : ceil_div(rows, 16);
  step.pooled_rows =
      step.documents * std::min(2 * config.router.pool_budget, config.data.max_tokens);
  return step;
}

std::vector<PlannedCollective> micro_batch_collectives(const Config& config,
                                                       const model::ModelConfig& m,
                                                       const parallel::MeshLayout& layout,
                                                       const StepTokens& step) {
  const auto options = decoder_options(config, true);
  const bool backward = trains_decoder(config);
  const int64_t item = dtype_size(options.dtype), layers = m.num_layers;
  const bool split = options.split_rows && layout.tensor > 1;
  const int64_t rows = model::context_rows(step.tokens, layout.context, config.context_block(),
                                           split ? layout.tensor : 1);
  const int64_t all = rows * layout.context;
  const int64_t hidden = rows * m.hidden_size * item;
  const int64_t q = rows * m.q_heads / layout.tensor * m.head_dim * item;
  const int64_t kv = rows * m.kv_heads / layout.tensor * m.head_dim * item;
  const bool by_layer = options.recompute == model::Recompute::layer;
  // Nothing is needed below the first layer's routers unless something there trains.
  const int64_t below = options.train_backbone ? layers : layers - 1;
  const bool trains_projections =
      options.train_backbone ||
      (options.lora && (options.lora->adapts("q_proj") || options.lora->adapts("k_proj") ||
                        options.lora->adapts("v_proj")));
  const int64_t need_qkv = trains_projections ? layers : below;
  // Whose backward pass has an attention part.
  const int64_t attention = config.has_routers() && config.trains(Part::router) ? layers : need_qkv;
  List out(layout);

  // Sums of the linears' parts: whole, or each rank's rows of them.
  const char* sum = split ? "reduce_scatter" : "all_reduce";
  out.add(sum, "tensor", "embedding", hidden, 1);
  out.add(sum, "tensor", "layers forward", hidden, 2 * layers);
  if (backward) {
    out.add(sum, "tensor", "layers backward", hidden, layers + below);
    if (by_layer) out.add(sum, "tensor", "layers again", hidden, layers);
  }
  if (split) {
    out.add("all_gather", "tensor", "rows forward", hidden, 2 * layers + 1);
    if (backward) {
      out.add("all_gather", "tensor", "rows backward", hidden,
              2 * layers + (options.train_backbone ? 1 : 0));
      const bool trains_gate_up =
          options.train_backbone ||
          (options.lora && (options.lora->adapts("gate_proj") || options.lora->adapts("up_proj")));
      const int64_t inputs = (trains_projections ? layers : 0) + (trains_gate_up ? layers : 0);
      out.add("all_gather", "tensor", "rows for weight gradients", hidden, inputs);
      if (options.recompute != model::Recompute::none) {
        out.add("all_gather", "tensor", "rows again", hidden, 2 * layers);
      }
    }
  }
  if (options.lm_head && step.labels > 0) {
    const int64_t chunks = ceil_div(step.labels, options.loss_chunk_rows);
    if (layout.tensor > 1) {
      out.list.push_back(
          {"all_gather", "tensor", "loss", layout.tensor * 4 * 8 * step.labels, chunks});
      out.list.push_back(
          {"all_reduce", "tensor", "loss", step.labels * m.hidden_size * item, chunks});
    }
  }
  if (layout.context == 1) return out.list;
  if (config.parallel.context_kind == ContextKind::gather) {
    const int64_t groups = model::kv_head_groups(m.kv_heads / layout.tensor, layout.context);
    const int64_t gathered = kv / groups / rows * all;
    const auto add = [&](const char* operation, const char* what, int64_t passes) {
      out.add(operation, "context", what, gathered, 2 * groups * passes);
    };
    add("all_gather", "keys and values forward", layers);
    if (backward) {
      add("all_gather", "keys and values backward", attention + (by_layer ? layers : 0));
      add("reduce_scatter", "their gradients", need_qkv);
    }
  } else {
    out.add("all_to_all", "context", "heads forward", 2 * q + 2 * kv, layers);
    out.list.back().calls *= 4;
    if (backward) {
      // Queries, keys and values again; the output once more where it is computed again or read;
      // its gradient; theirs.
      const int64_t inputs = (by_layer ? layers : attention) + need_qkv;
      const int64_t outputs =
          attention + (by_layer ? layers : 0) +
          (options.train_backbone || (options.lora && options.lora->adapts("o_proj")) ? layers : 0);
      out.list.push_back({"all_to_all", "context", "heads backward",
                          inputs * (q + 2 * kv) + outputs * q, 3 * inputs + outputs});
    }
  }
  if (config.has_routers() && config.router.kind != router::Kind::static_l0) {
    const int64_t pooled = step.pooled_rows * m.kv_heads / layout.tensor * m.head_dim * item;
    out.add("all_reduce", "context", "pooled keys", pooled, layers);
    if (config.trains(Part::router) && !config.router.detach_input) {
      out.add("all_reduce", "context", "pooled keys' gradients", pooled, need_qkv);
    }
  }
  return out.list;
}

std::vector<PlannedCollective> step_collectives(const Config& config, const model::ModelConfig& m,
                                                const parallel::MeshLayout& layout) {
  const auto trained = planned_gradients(config, m, layout);
  std::vector<parallel::GradientPart> parts;
  int64_t values = 0;
  for (const PlannedGradient& p : trained) {
    parts.push_back(p.gradient);
    values += p.value_bytes;
  }
  // Of each group: those that each tensor rank has a part of are summed over all ranks.
  PlannedCollective world{"all_reduce", "world", "gradients"};
  PlannedCollective grad{"all_reduce", "grad", "gradients"};
  for (const auto& b : parallel::gradient_buckets(parts, config.parallel.bucket_bytes)) {
    PlannedCollective& sum = b.partial_over_tensor ? world : grad;
    sum.bytes += b.elements * int64_t(dtype_size(b.dtype));
    ++sum.calls;
  }
  List out(layout);
  out.add(world);
  out.add(grad);
  if (config.train.shard_optimizer && config.trains(Part::backbone)) {
    out.add(
        {"broadcast", "grad", "weights of a shared optimiser", values, int64_t(trained.size())});
  }
  return out.list;
}

}  // namespace elastron::train
