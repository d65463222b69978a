#include "model/memory_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "core/ceil_div.h"
#include "model/attention_exchange.h"
#include "model/gathered_memory.h"
#include "ops/attention/block_bits.h"
#include "router/attention_router.h"

namespace elastron::model {

namespace {

// What a device takes for so many bytes.
int64_t block_of(DeviceKind device, int64_t bytes) {
  if (device != DeviceKind::cpu || bytes == 0) return bytes;
  return int64_t(CpuDevice::size_class(size_t(bytes)));
}

// Ranks that have a part of the rows each between the linears of a tensor group.
int row_shares(const DecoderOptions& options, const MemoryShape& shape) {
  return options.split_rows ? shape.tensor_ranks : 1;
}

// Bytes of one layer's tensors on this rank, named as in decoder_layer.h.
struct LayerBytes {
  LayerBytes(const ModelConfig& c, const DecoderOptions& options, const MemoryShape& shape) {
    const auto block = [&](int64_t bytes) { return block_of(shape.device, bytes); };
    const int ranks = shape.tensor_ranks, shares = row_shares(options, shape);
    const int64_t rows =
        context_rows(shape.tokens, shape.context_ranks, shape.context_block, shares);
    const int64_t item = dtype_size(options.dtype);
    const int64_t number = dtype_size(accumulator_dtype(options.dtype));
    const int64_t q_heads = c.q_heads / ranks, kv_heads = c.kv_heads / ranks;
    hidden = block(rows / shares * c.hidden_size * item);
    inv_rms = block(rows / shares * number);
    if (shares > 1) entering = block(rows * c.hidden_size * item);
    q = block(rows * q_heads * c.head_dim * item);
    kv = block(rows * kv_heads * c.head_dim * item);
    q_rows = block(rows * q_heads * number);
    mlp = block(rows * c.intermediate_size / ranks * item);
    projections = q + 2 * kv + inv_rms;
    if (c.qk_norm) projections += q + kv + q_rows + block(rows * kv_heads * number);
    selected = q + q_rows;
    both = selected + (shape.train_routers ? selected : 0);
    const int64_t group = c.q_heads / c.kv_heads;
    const auto pattern = shape.routers ? shape.routers->head_pattern() : ops::HeadPattern{};
    if (pattern.chooser() != nullptr) {
      // A bit per pair of blocks and mask, once by rows and once by columns.
      const int64_t length = shape.longest > 0 ? shape.longest : shape.tokens;
      const int64_t blocks = ceil_div(length, pattern.block());
      const int64_t heads = shape.exchange_heads ? q_heads / shape.context_ranks : q_heads;
      int64_t words = blocks * ceil_div(blocks, 32);
      if (shape.context_ranks > 1 && !shape.exchange_heads) {
        // Of each of a rank's two pieces with all keys before its end.
        const int64_t pieces = 2 * int64_t(shape.context_ranks);
        words = ceil_div(words * (pieces + 1), pieces * pieces);
      }
      choice =
          2 * block(heads / pattern.shared_by(group) * words * 4 * ceil_div(shape.tokens, length));
    }
    gate_up = 2 * mlp + inv_rms;
    if (options.train_backbone || (options.lora && options.train_lora)) {
      projections += hidden;
      gate_up += hidden;
    }
    if (shape.context_ranks > 1 && !shape.exchange_heads) {
      // Of each of a rank's two pieces all keys before its end.
      const int64_t all = rows * shape.context_ranks;
      const int64_t keys = all + ceil_div(all, 2 * int64_t(shape.context_ranks));
      const int64_t groups = kv_head_groups(kv_heads, shape.context_ranks);
      const int64_t width = kv_heads / groups * c.head_dim * item;
      gathered = GatheredMemory{
          .groups = groups,
          .arriving = block(all * width),
          .read = block(std::min(keys, 2 * all) * width),
          .q = q,
          .kv = kv,
          .q_part = block(rows * q_heads / groups * c.head_dim * item),
          .kv_part = block(rows * width),
          .rows_part = block(rows * q_heads / groups * number),
          .forward_workspace = shape.attention.forward,
          .backward_workspace = shape.attention.backward,
      };
    }
    exchanged = shape.context_ranks > 1 && shape.exchange_heads;
  }

  int64_t attention() const { return both + choice; }
  // What attention reads that is not the projections themselves, while the MLP's backward pass
  // runs: with gathered keys the first group's, on their way.
  int64_t inputs() const { return exchanged ? q + 2 * kv : 2 * gathered.arriving; }
  // The most while rows of other ranks arrive and are put in order.
  int64_t arriving() const { return exchanged ? 2 * (q + 2 * kv) : gathered.others(); }
  // Beside what attention puts out: what it reads, or the rows on their way before it.
  int64_t attention_forward(bool both_branches, int64_t workspace) const {
    if (gathered.groups > 0) return gathered.forward(both_branches);
    return std::max(inputs(), arriving() - attention()) + workspace;
  }
  int64_t attention_backward(bool both_branches, int64_t workspace) const {
    if (gathered.groups > 0) return gathered.backward(both_branches);
    return inputs() + 2 * q + 2 * kv + 2 * q_rows + workspace;
  }

  int64_t hidden, inv_rms, q, kv, q_rows, mlp;
  int64_t entering = 0;  // all rows on their way into or out of linears, where ranks share them
  int64_t projections, selected, both, choice = 0, gate_up;
  GatheredMemory gathered;
  bool exchanged = false;
};

int64_t split_elements(const ModelConfig& c) {
  return 2 * c.hidden_size * (c.q_heads + c.kv_heads) * c.head_dim +
         3 * c.hidden_size * c.intermediate_size;
}

// Of one trained number: itself, the gradient, and what may be shared.
struct Trained {
  explicit Trained(DType dtype)
      : gradient(dtype_size(accumulator_dtype(dtype))), state(2 * gradient) {
    if (accumulator_dtype(dtype) != dtype) state += gradient;
  }
  int64_t gradient, state;
};

void add_weights(const ModelConfig& c, const DecoderOptions& options, const MemoryShape& shape,
                 MemoryPlan& plan) {
  const int ranks = shape.tensor_ranks;
  const int64_t e = c.hidden_size, item = dtype_size(options.dtype);
  const int64_t split = split_elements(c);
  const int64_t norms = 2 * e + (c.qk_norm ? 2 * c.head_dim : 0);
  const int64_t table = ceil_div(c.vocab_size, ranks) * e;
  const int64_t tables = c.tie_word_embeddings || !options.lm_head ? 1 : 2;
  const int64_t elements = c.num_layers * (split / ranks + norms) + e + tables * table;
  plan.weights = elements * item;
  if (options.train_backbone) {
    const Trained each(options.dtype);
    plan.gradients += elements * each.gradient;
    plan.weights +=
        elements * each.gradient + ceil_div(elements * each.state, shape.optimizer_ranks);
  } else if (shape.device == DeviceKind::cpu && options.repack && options.dtype != DType::f64) {
    // One copy per direction; nothing needs a gradient below the first layer's projections.
    const int64_t head = options.lm_head ? table : 0;
    const int64_t projections = e * (c.q_heads + 2 * c.kv_heads) * c.head_dim / ranks;
    plan.packed = (c.num_layers * split / ranks + head) * item;
    if (shape.backward) plan.packed += plan.packed - projections * item;
  }
}

void add_trained(const ModelConfig& c, const DecoderOptions& options, const MemoryShape& shape,
                 MemoryPlan& plan) {
  const auto add = [&](int64_t elements, DType dtype, bool trains) {
    const Trained each(dtype);
    plan.trained += elements * dtype_size(dtype);
    if (!trains) return;
    plan.trained += elements * (each.gradient + each.state);
    plan.gradients += elements * each.gradient;
  };
  if (shape.routers) {
    int64_t elements = 0;
    if (shape.routers->kind == router::Kind::static_l0) {
      elements = c.kv_heads / shape.tensor_ranks;
    } else {
      for (const auto& t : router::router_tensors(c.head_dim, shape.tasks, *shape.routers)) {
        elements += t.shape.numel();
      }
    }
    add(c.num_layers * elements, accumulator_dtype(options.dtype), shape.train_routers);
  }
  if (options.lora) {
    const int64_t e = c.hidden_size, q = c.q_heads * c.head_dim, kv = c.kv_heads * c.head_dim;
    const int64_t f = c.intermediate_size;
    // In and out of each linear, in the order of kLinearNames; the split side is divided.
    const std::pair<int64_t, int64_t> sides[] = {{e, q}, {e, kv}, {e, kv}, {q, e},
                                                 {e, f}, {e, f},  {f, e}};
    int64_t elements = 0;
    for (size_t i = 0; i < kLinearNames.size(); ++i) {
      if (!options.lora->adapts(kLinearNames[i])) continue;
      const auto [in, out] = sides[i];
      elements += (in == e ? in + out / shape.tensor_ranks : in / shape.tensor_ranks + out) *
                  options.lora->rank;
    }
    add(c.num_layers * elements, options.dtype, options.train_lora);
  }
  if (!options.lm_head) add(c.hidden_size, accumulator_dtype(options.dtype), true);
}

}  // namespace

int64_t context_rows(int64_t tokens, int context_ranks, int64_t block, int row_shares) {
  int64_t rows = tokens;
  if (context_ranks > 1) {
    rows = std::min(ceil_div(ceil_div(tokens, block), context_ranks) * block, tokens);
  }
  return ceil_div(rows, row_shares) * row_shares;
}

MemoryPlan plan_memory(const ModelConfig& config, const DecoderOptions& options,
                       const MemoryShape& shape) {
  MemoryPlan plan;
  add_weights(config, options, shape, plan);
  add_trained(config, options, shape, plan);
  const LayerBytes l(config, options, shape);
  const auto block = [&](int64_t bytes) { return block_of(shape.device, bytes); };
  const int64_t rows = context_rows(shape.tokens, shape.context_ranks, shape.context_block,
                                    row_shares(options, shape));
  const int64_t item = dtype_size(options.dtype);
  plan.tables = 3 * block(rows * 4) + block(options.max_position * config.head_dim *
                                            dtype_size(accumulator_dtype(options.dtype)));

  const int64_t chunk = std::min(options.loss_chunk_rows, rows);
  const int64_t vocab = ceil_div(config.vocab_size, shape.tensor_ranks);
  plan.logits = options.lm_head ? block(chunk * vocab * item) : 0;
  const int64_t loss_rows = block(chunk * config.hidden_size * item);

  const bool by_layer = options.recompute == Recompute::layer;
  const bool recomputed = options.recompute != Recompute::none;
  if (shape.backward) {
    plan.layer.push_back({"input", l.hidden});
    if (!by_layer) {
      plan.layer.push_back({"attention outputs", l.attention()});
      plan.layer.push_back({"between attention and MLP", l.hidden});
    }
    if (!recomputed) {
      plan.layer.push_back({"queries, keys and values", l.projections});
      plan.layer.push_back({"MLP gate and up", l.gate_up});
    }
    for (const MemoryItem& i : plan.layer) plan.saved += config.num_layers * i.bytes;
    plan.saved += l.hidden;
  }

  const int64_t most_mlp = l.entering == 0 ? std::max(3 * l.mlp, 2 * l.mlp + 2 * l.hidden)
                                           : 2 * l.mlp + l.entering + std::max(l.mlp, l.hidden);
  // In the backward pass a layer holds what it kept, what it computed again, and these.
  const int64_t again = l.projections + l.attention() + l.hidden;
  const int64_t kept = by_layer ? 0 : l.attention() + l.hidden;
  // What the last layer's MLP leaves to be kept is counted there.
  const int64_t stays = by_layer ? 0 : recomputed ? l.hidden : l.hidden + 2 * l.mlp;
  const bool keeps = shape.backward && !recomputed;
  const bool selected_only = by_layer || !shape.backward;
  const int64_t out = selected_only ? l.selected + l.choice : 0;
  const int64_t around =
      l.attention_forward(!selected_only && shape.train_routers, shape.attention.forward);
  const int64_t own_again = l.exchanged ? 3 * l.q - l.inputs() : 0;  // heads on their way back
  plan.phases.push_back(
      {"attention forward",
       (keeps ? l.hidden : l.hidden + l.projections + out) +
           std::max(
               {around, own_again, keeps ? std::max(l.hidden + l.entering, l.q) : l.entering})});
  plan.phases.push_back(
      {"MLP forward", 2 * l.hidden + l.entering + 3 * l.mlp - (shape.backward ? stays : 0)});
  plan.phases.push_back(
      {"loss", l.hidden + 2 * std::max(l.hidden, l.entering) + plan.logits + 2 * loss_rows});
  if (shape.backward) {
    plan.phases.push_back(
        {"MLP backward", l.inputs() + (recomputed ? l.hidden + again - kept + most_mlp
                                                  : l.hidden + most_mlp - 2 * l.mlp)});
    plan.phases.push_back(
        {"attention backward",
         2 * l.hidden + (recomputed ? again - kept : -2 * l.mlp) +
             std::max(l.attention_backward(shape.train_routers, shape.attention.backward),
                      l.inputs() + l.q + l.entering)});
  }
  const auto most = std::ranges::max_element(plan.phases, {}, &MemoryItem::bytes);
  plan.working = most->bytes;
  plan.phase = most->name;
  plan.communication = shape.context_ranks > 1 ? l.arriving() : 0;
  return plan;
}

std::string describe_bytes(int64_t bytes) {
  const bool large = bytes >= int64_t(1) << 30;
  return fmt::format("{:.2f} {}", double(bytes) / (large ? 1 << 30 : 1 << 20),
                     large ? "GiB" : "MiB");
}

std::string describe(const MemoryPlan& plan, int64_t tokens) {
  const bool large = plan.total() >= int64_t(1) << 30;
  const double unit = large ? 1 << 30 : 1 << 20;
  return fmt::format(
      "plan for {} tokens: {:.2f} {} = {:.2f} weights and what trains + {:.2f} saved + {:.2f} "
      "working ({})",
      tokens, double(plan.total()) / unit, large ? "GiB" : "MiB", double(plan.held()) / unit,
      double(plan.saved) / unit, double(plan.working) / unit, plan.phase);
}

}  // namespace elastron::model
