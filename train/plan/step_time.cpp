#include "train/plan/step_time.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "train/plan/planned_batch.h"
#include "train/step/attention_pairs.h"
#include "train/trained_model.h"

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

int axis_size(const std::string& axis, const parallel::MeshLayout& layout) {
  return axis == "tensor"    ? layout.tensor
         : axis == "context" ? layout.context
         : axis == "data"    ? layout.data
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

// A device's reached rates.
class Rates {
 public:
  Rates(const DeviceSpec& device, DType dtype)
      : device_(device),
        flops_(device.flops(dtype)),
        memory_(device.memory.bandwidth * device.compute.bandwidth_share) {}

  // An op takes as long as its operations or its bytes, whichever is longer.
  double of_flops(const OpCost& op) const { return op.flops > 0 ? op.flops / rate(op.kind) : 0; }
  double of_bytes(double bytes) const { return bytes / memory_; }
  double seconds(const OpCost& op) const { return std::max(of_flops(op), of_bytes(op.bytes)); }
  // From one small op to the next.
  double launches(double count) const { return count * device_.compute.launch_seconds; }

 private:
  double rate(WorkKind kind) const {
    const DeviceCompute& c = device_.compute;
    switch (kind) {
      case WorkKind::products:
      case WorkKind::memory: return flops_ * c.linear_share;
      case WorkKind::attention_backward: return flops_ * c.attention_backward_share;
      case WorkKind::attention_both:
      case WorkKind::attention_selected:
      case WorkKind::block_choice: break;
    }
    return flops_ * c.attention_forward_share;
  }

  const DeviceSpec& device_;
  double flops_, memory_;
};

// The time of all ops of a part.
struct Seconds {
  double all = 0, flops = 0;

  void add(const Rates& rates, const OpCost& op) {
    all += rates.seconds(op);
    flops += rates.of_flops(op);
  }
  std::string limit() const { return flops > 0.5 * all ? "matrix products" : "memory bandwidth"; }
};

// A micro batch's, but for the update.
struct WorkSeconds {
  Seconds forward, again, backward;  // products of the layers
  Seconds elements, elements_backward, loss, update;
  // Attention: forward, computed again, backward.
  Seconds attention, attention_again, attention_backward, choice, choice_again;
  bool both = false, both_again = false;
  double routers = 0;

  WorkSeconds(const PlannedStep& step, const Rates& rates, bool launches) {
    const auto roles = roles_of(step.ranges);
    for (size_t i = 0; i < step.ranges.size(); ++i) {
      const RangeRecord& range = step.ranges[i];
      for (const OpRecord& op : range.ops) {
        if (roles[i].router) {
          const double small = double(launches ? op.sum.launches : op.calls);
          routers += rates.seconds(op.sum) + rates.launches(small);
        } else {
          of(op.sum, roles[i]).add(rates, op.sum);
        }
      }
      const OpCost copies{.bytes = double(range.copied_bytes)};
      elements_of(roles[i]).add(rates, copies);
    }
  }

 private:
  Seconds& elements_of(const RangeRole& role) {
    switch (role.part) {
      case StepPart::layer_backward: return elements_backward;
      case StepPart::loss: return loss;
      case StepPart::update:
      case StepPart::figures:
      case StepPart::outside: return update;
      case StepPart::micro_batch:
      case StepPart::layer: break;
    }
    return elements;
  }
  Seconds& of(const OpCost& op, const RangeRole& role) {
    switch (op.kind) {
      case WorkKind::attention_both: (role.again ? both_again : both) = true; [[fallthrough]];
      case WorkKind::attention_selected: return role.again ? attention_again : attention;
      case WorkKind::attention_backward: return attention_backward;
      case WorkKind::block_choice: return role.again ? choice_again : choice;
      case WorkKind::products: break;
      case WorkKind::memory: return elements_of(role);
    }
    if (role.part == StepPart::layer) return forward;
    if (role.part == StepPart::layer_backward) return role.again ? again : backward;
    return loss;
  }
};

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
                   const Expected& expected, const PlannedStep& step) {
  const Rates rates(device, config.model.compute_dtype());
  const WorkSeconds work(step, rates, device.kind == DeviceKind::cuda);
  const double micro_batches =
      std::ceil(double(config.train.global_batch) / double(config.train.micro_batch) / layout.data);
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
  const auto add_work = [&](Phase phase, const char* what, const Seconds& seconds) {
    add(phase, what, seconds.limit(), micro_batches * seconds.all);
  };
  add_work(Phase::forward, "linear forward", work.forward);
  add_work(Phase::backward, "linear backward", work.backward);
  add_work(Phase::backward, "linear again", work.again);

  // Ranks that split heads have as many dense ones as the gates have it.
  const double msr = config.has_routers() ? expected.msr : 0;
  const int64_t length = expected.document_tokens > 0
                             ? std::min(expected.document_tokens, config.data.max_tokens)
                             : config.data.max_tokens;
  const PairShares shares = pair_shares(config.router, length, msr, expected.xattention);
  const int split =
      layout.tensor * (config.parallel.context_kind == ContextKind::ulysses ? layout.context : 1);
  time.sparse = shares.sparse / shares.retrieval;
  // A layer that is decided as one has the same heads on every rank.
  const bool differ = msr > 0 && !config.router.by_layer();
  time.uneven = differ ? head_imbalance(m.kv_heads, split, msr, time.sparse) : 1;
  const std::string heads = time.uneven > 1.05 ? fmt::format("uneven heads (x{:.2f})", time.uneven)
                                               : std::string("attention rate");
  const auto add_attention = [&](Phase phase, const std::string& what, const Seconds& seconds,
                                 bool both) {
    add(phase, what + (both ? ", both branches" : ""), both ? "attention rate" : heads,
        micro_batches * seconds.all * (both ? 1 : time.uneven), !both);
  };
  add_attention(Phase::forward, "attention forward", work.attention, work.both);
  add_attention(Phase::backward, "attention again", work.attention_again, work.both_again);
  add_attention(Phase::backward, "attention backward, selected branch", work.attention_backward,
                /*both=*/false);
  add(Phase::forward, "choice of blocks", "attention rate", micro_batches * work.choice.all);
  add(Phase::backward, "choice of blocks again", "attention rate",
      micro_batches * work.choice_again.all);

  add(Phase::forward, "norms, rotation, residuals, SwiGLU", "memory bandwidth",
      micro_batches * work.elements.all);
  add(Phase::backward, "norms, rotation, residuals, SwiGLU backward", "memory bandwidth",
      micro_batches * work.elements_backward.all);
  add(Phase::forward, "routers", "launches", micro_batches * work.routers);
  add_work(Phase::loss, "head and loss", work.loss);

  const auto link_name = [&](const std::string& axis) {
    return inside_a_machine(axis, layout, device) ? "links inside a machine"
                                                  : "network between machines";
  };
  for (const char* axis : {"tensor", "context"}) {
    double seconds = 0;
    for (const auto& c : step.micro_batch) {
      if (c.axis == axis) seconds += collective_seconds(c, layout, device);
    }
    add(Phase::collectives, std::string("collectives, ") + axis, link_name(axis),
        micro_batches * seconds);
  }
  double gradients = 0;
  for (const auto& c : step.update) gradients += collective_seconds(c, layout, device);
  add(Phase::collectives, "collectives, gradients", link_name("world"), gradients);
  add(Phase::end, "optimiser", "memory bandwidth", work.update.all);
  return time;
}

}  // namespace elastron::train
