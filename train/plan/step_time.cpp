#include "train/plan/step_time.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "model/memory_plan.h"
#include "train/plan/collectives.h"
#include "train/plan/run_shape.h"
#include "train/step/attention_pairs.h"

namespace elastron::train {

double StepTime::seconds() const {
  double sum = 0;
  for (const TimePart& part : parts) sum += part.seconds;
  return sum;
}

const TimePart& StepTime::longest() const {
  return *std::ranges::max_element(parts, {}, &TimePart::seconds);
}

double head_imbalance(int64_t kv_heads, int ranks, double msr, double sparse) {
  if (ranks == 1) return 1;
  const int64_t each = kv_heads / ranks;
  // The most of `ranks` draws from a binomial distribution of dense heads.
  double below = 0, most = 0, previous = 0;
  for (int64_t n = 0; n <= each; ++n) {
    const double choose = std::exp(std::lgamma(double(each + 1)) - std::lgamma(double(n + 1)) -
                                   std::lgamma(double(each - n + 1)));
    below += choose * std::pow(1 - msr, double(n)) * std::pow(msr, double(each - n));
    const double all_below = std::pow(std::min(below, 1.0), ranks);
    most += double(n) * (all_below - previous);
    previous = all_below;
  }
  return (most + (double(each) - most) * sparse) / (double(each) * (1 - msr + msr * sparse));
}

namespace {

// Pairs of query and key of a head and micro batch: all causal ones, those of the two branches, of
// the branch that was selected, and of what both branches read together.
struct Pairs {
  double full = 0, retrieval = 0, sparse = 0, selected = 0, both = 0;

  Pairs(const Config& config, const Expected& expected, double msr) {
    const int64_t length = expected.document_tokens > 0
                               ? std::min(expected.document_tokens, config.data.max_tokens)
                               : config.data.max_tokens;
    const double documents = double(micro_batch_tokens(config)) / double(length);
    const PairShares shares = pair_shares(config.router, length, msr, expected.xattention);
    full = documents * double(ops::causal_pairs(length));
    retrieval = full * shares.retrieval;
    sparse = full * shares.sparse;
    selected = full * shares.selected;
    both = full * shares.both;
  }
};

int axis_size(const std::string& axis, const parallel::MeshLayout& layout) {
  return axis == "tensor"    ? layout.tensor
         : axis == "context" ? layout.context
         : axis == "grad"    ? layout.data * layout.context
                             : layout.ranks();
}
bool inside_a_machine(const std::string& axis, const parallel::MeshLayout& layout,
                      const DeviceSpec& device) {
  const int reach = axis == "tensor"    ? layout.tensor
                    : axis == "context" ? layout.tensor * layout.context
                                        : layout.ranks();
  return reach <= device.per_node;
}

}  // namespace

double collective_seconds(const PlannedCollective& c, const parallel::MeshLayout& layout,
                          const DeviceSpec& device) {
  const double size = axis_size(c.axis, layout);
  const DeviceLink& link = inside_a_machine(c.axis, layout, device) ? device.node : device.network;
  const double twice = c.operation == "all_reduce" ? 2 : 1;
  return twice * (double(c.bytes) * (size - 1) / size / link.bandwidth +
                  double(c.calls) * std::ceil(std::log2(size)) * link.latency);
}

StepTime step_time(const Config& config, const model::ModelConfig& m,
                   const parallel::MeshLayout& layout, const DeviceSpec& device,
                   const Expected& expected) {
  const auto options = decoder_options(config, true);
  const bool backward = trains_decoder(config), both = config.trains(Part::router);
  const double msr = config.has_routers() ? expected.msr : 0;
  const StepTokens step = step_tokens(config, layout);
  const double rows =
      double(model::context_rows(step.tokens, layout.context, config.context_block()));
  const double layers = double(m.num_layers), t = layout.tensor, item = dtype_size(options.dtype);
  const double e = double(m.hidden_size), f = double(m.intermediate_size) / t;
  const double q = double(m.q_heads * m.head_dim) / t, kv = double(m.kv_heads * m.head_dim) / t;
  const double qkv = e * (q + 2 * kv), linear = qkv + q * e + 3 * e * f;
  const double micro_batches =
      std::ceil(double(config.train.global_batch) / double(config.train.micro_batch) / layout.data);
  const auto again = options.recompute;
  const double share_again = again == model::Recompute::none    ? 0
                             : again == model::Recompute::layer ? (linear - e * f) / linear
                                                                : (qkv + 2 * e * f) / linear;

  StepTime time{.parts = {},
                .tokens = double(micro_batch_tokens(config)) / double(config.train.micro_batch) *
                          double(config.train.global_batch),
                .micro_batches = micro_batches};
  const auto add = [&](Phase phase, std::string what, std::string limit, double seconds,
                       bool selected = false) {
    if (seconds > 0) {
      time.parts.push_back({std::move(what), std::move(limit), seconds, phase, selected});
    }
  };
  // Linear layers.
  const double rate = device.flops(options.dtype) * device.compute.linear_share;
  const double forward = micro_batches * layers * 2 * rows * linear / rate;
  add(Phase::forward, "linear forward", "matrix products", forward);
  if (backward) {
    add(Phase::backward, "linear backward", "matrix products",
        forward * (options.train_backbone ? 2 : 1));
    add(Phase::backward, "linear again", "matrix products", forward * share_again);
  }

  // Attention: context ranks share the pairs evenly, ranks that split heads as the gates have it.
  const Pairs pairs(config, expected, msr);
  const int split =
      layout.tensor * (config.parallel.context_kind == ContextKind::ulysses ? layout.context : 1);
  const double uneven =
      msr > 0 ? head_imbalance(m.kv_heads, split, msr, pairs.sparse / pairs.retrieval) : 1;
  time.uneven = uneven;
  time.sparse = pairs.sparse / pairs.retrieval;
  const double per_pair = micro_batches * layers * 4 * double(m.q_heads * m.head_dim) /
                          double(layout.tensor * layout.context);
  const double forward_rate = device.flops(options.dtype) * device.compute.attention_forward_share;
  const double backward_rate =
      device.flops(options.dtype) * device.compute.attention_backward_share;
  const std::string heads =
      uneven > 1.05 ? fmt::format("uneven heads (x{:.2f})", uneven) : std::string("attention rate");
  const bool both_now = both && again != model::Recompute::layer;
  add(Phase::forward, both_now ? "attention forward, both branches" : "attention forward",
      both_now ? "attention rate" : heads,
      per_pair * (both_now ? pairs.both : pairs.selected * uneven) / forward_rate, !both_now);
  if (backward) {
    if (again == model::Recompute::layer) {
      add(Phase::backward, both ? "attention again, both branches" : "attention again",
          both ? "attention rate" : heads,
          per_pair * (both ? pairs.both : pairs.selected * uneven) / forward_rate, !both);
    }
    add(Phase::backward, "attention backward, selected branch", heads,
        2.5 * per_pair * pairs.selected * uneven / backward_rate, true);
  }
  const ops::HeadPattern pattern = config.router.head_pattern();
  if (pattern.chooser() != nullptr && config.has_routers()) {
    const double scores = ops::scores_per_pair(*pattern.chooser(), m.q_heads / m.kv_heads);
    add(Phase::forward, "choice of blocks", "attention rate",
        per_pair * pairs.full * scores / forward_rate);
  }

  // What goes through memory: norms, rotation, residuals, SwiGLU.
  const double memory_rate = device.memory.bandwidth * device.compute.bandwidth_share;
  const double shares = options.split_rows ? t : 1;  // ranks between which residuals are cut
  const double elementwise = micro_batches * layers * rows * item *
                             (10 * e / shares + 2 * (q + kv) + (m.qk_norm ? q + kv : 0) + 3 * f) /
                             memory_rate;
  add(Phase::layers, "norms, rotation, residuals, SwiGLU", "memory bandwidth",
      elementwise * (backward ? 2.5 + share_again : 1));
  if (config.has_routers()) {
    add(Phase::forward, "routers", "launches",
        micro_batches * layers * (both ? 30 : 10) * device.compute.launch_seconds);
  }
  if (options.lm_head) {
    const double table = e * double(m.vocab_size) / t;
    const double passes = options.train_backbone ? 3 : 2;
    const double products = passes * 2 * double(step.labels) * table / rate;
    const double logits = 4 * double(step.labels) * double(m.vocab_size) / t * item / memory_rate;
    add(Phase::loss, "head and loss", products > logits ? "matrix products" : "memory bandwidth",
        micro_batches * (products + logits));
  }

  // Collectives.
  const auto link_name = [&](const std::string& axis) {
    return inside_a_machine(axis, layout, device) ? "links inside a machine"
                                                  : "network between machines";
  };
  for (const char* axis : {"tensor", "context"}) {
    double seconds = 0;
    for (const auto& c : micro_batch_collectives(config, m, layout, step)) {
      if (c.axis == axis) seconds += collective_seconds(c, layout, device);
    }
    add(Phase::collectives, std::string("collectives, ") + axis, link_name(axis),
        micro_batches * seconds);
  }
  double gradients = 0;
  for (const auto& c : step_collectives(config, m, layout))
    gradients += collective_seconds(c, layout, device);
  add(Phase::collectives, "collectives, gradients", link_name("world"), gradients);
  // Gradients, two moments, master and value are read and most of them written.
  const auto memory =
      model::plan_memory(m, options, memory_shape(config, layout, DeviceKind::cuda));
  add(Phase::end, "optimiser", "memory bandwidth", 7 * double(memory.gradients) / memory_rate);
  return time;
}

}  // namespace elastron::train
