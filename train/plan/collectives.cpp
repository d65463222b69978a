#include "train/plan/collectives.h"

#include <algorithm>

#include "data/packed_batch.h"
#include "model/attention_exchange.h"
#include "model/memory_plan.h"
#include "router/attention_router.h"
#include "train/plan/run_shape.h"

namespace elastron::train {

namespace {

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

class List {
 public:
  explicit List(const parallel::MeshLayout& layout) : layout_(layout) {}
  // `calls` of `bytes` each.
  void add(const char* operation, const char* axis, const char* what, int64_t bytes,
           int64_t calls) {
    const std::string name = axis;
    const int size = name == "tensor"    ? layout_.tensor
                     : name == "context" ? layout_.context
                     : name == "grad"    ? layout_.data * layout_.context
                                         : layout_.ranks();
    if (size == 1 || calls == 0) return;
    list.push_back({operation, axis, what, bytes * calls, calls});
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
  const int64_t rows = model::context_rows(step.tokens, layout.context);
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
  const int64_t rows = model::context_rows(step.tokens, layout.context);
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

  out.add("all_reduce", "tensor", "embedding", hidden, 1);
  out.add("all_reduce", "tensor", "layers forward", hidden, 2 * layers);
  if (backward) {
    out.add("all_reduce", "tensor", "layers backward", hidden, layers + below);
    if (by_layer) out.add("all_reduce", "tensor", "layers again", hidden, layers);
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
  const auto options = decoder_options(config, true);
  const auto memory =
      model::plan_memory(m, options, memory_shape(config, layout, DeviceKind::cuda));
  List out(layout);
  const int64_t bucket = config.parallel.bucket_bytes;
  // Routers' gradients are parts over the tensor group too.
  const int64_t world = memory.router_gradients;
  const int64_t rest = memory.gradients - world;
  for (const auto& [axis, bytes] : {std::pair{"world", world}, {"grad", rest}}) {
    if (bytes == 0) continue;
    out.add("all_reduce", axis, "gradients", bytes, 1);
    if (!out.list.empty() && out.list.back().axis == axis) {
      out.list.back().calls = ceil_div(bytes, bucket);
    }
  }
  if (config.train.shard_optimizer && config.trains(Part::backbone)) {
    out.add("broadcast", "grad", "weights of a shared optimiser", memory.backbone_values, 1);
  }
  return out.list;
}

}  // namespace elastron::train
