#include "train/plan/layouts.h"

#include <algorithm>
#include <cmath>

#include "core/philox.h"
#include "data/balance.h"
#include "train/plan/usable_memory.h"
#include "train/step/step_batches.h"
#include "train/trained_model.h"

namespace elastron::train {

namespace {

bool better(const LayoutPlan& a, const LayoutPlan& b) {
  if (a.fits != b.fits) return a.fits;
  if (!a.fits) return a.memory().total() < b.memory().total();
  return a.time.tokens_per_second() > b.time.tokens_per_second();
}

// How much longer than the mean the slowest data rank takes with its packs, as they are dealt: the
// mean over draws of normal costs.
double slowest(const Config& config, double pack_spread, int ranks) {
  const int64_t count = config.train.global_batch / config.train.micro_batch;
  if (ranks == 1 || pack_spread == 0 || count < ranks) return 1;
  constexpr uint32_t kDraws = 8;
  const int64_t dealt = count / ranks * ranks;
  double sum = 0;
  for (uint32_t draw = 0; draw < kDraws; ++draw) {
    const RandomStream stream(0, RandomPurpose::planning, draw);
    std::vector<double> costs;
    for (int64_t i = 0; i < dealt; ++i) {
      costs.push_back(std::max(1 + pack_spread * stream.normal_at(uint64_t(i)), 0.0));
    }
    sum += data::imbalance(costs, deal(costs, ranks, config.parallel.balance));
  }
  return sum / kDraws;
}

}  // namespace

bool layout_goes(const Config& config, const model::ModelConfig& model,
                 const parallel::MeshLayout& layout) {
  const int64_t packs = config.train.global_batch / config.train.micro_batch;
  if (model.kv_heads % layout.tensor != 0 || !model.mlps_divide_over(layout.tensor) ||
      packs % layout.data != 0) {
    return false;
  }
  if (layout.context == 1) return true;
  if (config.most_context_ranks() < layout.context) return false;
  return config.parallel.context_kind == ContextKind::gather ||
         model.kv_heads / layout.tensor % layout.context == 0;
}

LayoutPlan plan_layout(const Config& config, const model::ModelConfig& model,
                       const parallel::MeshLayout& layout, const DeviceSpec& device,
                       const Expected& expected) {
  LayoutPlan plan{.layout = layout, .config = config, .step = {}, .time = {}};
  plan.config.parallel.data.value = layout.data;
  plan.config.parallel.context = layout.context;
  plan.config.parallel.tensor = layout.tensor;
  plan.step = plan_step(plan.config, model, layout, device.kind, expected);
  plan.time = step_time(plan.config, model, layout, device, expected, plan.step);
  if (expected.document_tokens > 0) {
    // The longest documents decide about memory.
    Expected longest = expected;
    longest.document_tokens = 0;
    plan.step.memory = plan_step(plan.config, model, layout, device.kind, longest).memory;
  }
  plan.usable =
      usable_memory(device.memory.bytes, device.memory.usable, outside_plan(layout, device.kind));
  plan.fits = plan.memory().total() <= plan.usable;
  return plan;
}

std::vector<LayoutPlan> rank_layouts(const Config& config, const model::ModelConfig& model,
                                     int ranks, const DeviceSpec& device,
                                     const Expected& expected) {
  std::vector<LayoutPlan> plans;
  for (int tensor = 1; tensor <= ranks; ++tensor) {
    for (int context = 1; tensor * context <= ranks; ++context) {
      if (ranks % (tensor * context) != 0) continue;
      const parallel::MeshLayout layout{ranks / (tensor * context), context, tensor};
      for (const ContextKind kind : {ContextKind::gather, ContextKind::ulysses}) {
        if (context == 1 && kind != config.parallel.context_kind) continue;
        Config c = config;
        c.parallel.context_kind = kind;
        if (!layout_goes(c, model, layout)) continue;
        std::vector<LayoutPlan> modes;
        for (const auto recompute :
             {model::Recompute::none, model::Recompute::selective, model::Recompute::layer}) {
          if (!trains_decoder(config) && recompute != config.train.recompute) continue;
          c.train.recompute = recompute;
          modes.push_back(plan_layout(c, model, layout, device, expected));
        }
        plans.push_back(*std::ranges::min_element(modes, better));
      }
    }
  }
  std::ranges::stable_sort(plans, better);
  return plans;
}

ScalePlan scale(const LayoutPlan& start, const model::ModelConfig& model, int ranks, bool weak,
                double pack_spread, const DeviceSpec& device, const Expected& expected) {
  ScalePlan out{.ranks = ranks, .plan = {}, .limit = {}};
  Config config = start.config;
  parallel::MeshLayout layout = start.layout;
  const int each = layout.context * layout.tensor;
  layout.data = std::max(ranks / each, 1);
  const int64_t micro_batches = config.train.global_batch / config.train.micro_batch;
  if (weak) {
    const int64_t own = std::max<int64_t>(micro_batches / start.layout.data, 1);
    config.train.global_batch = own * layout.data * config.train.micro_batch;
  } else {
    // Data ranks that share the micro batches evenly, as a run must have it; the rest of the
    // devices goes to the context group where that may grow.
    while (micro_batches % layout.data != 0) {
      layout.data /= 2;
      if (layout_goes(config, model, {1, 2 * layout.context, layout.tensor})) layout.context *= 2;
    }
  }
  out.plan = plan_layout(config, model, layout, device, expected);
  const double before = slowest(start.config, pack_spread, start.layout.data);
  const double after = slowest(config, pack_spread, layout.data);
  const double rate = start.time.tokens_per_second() / before / start.layout.ranks();
  out.efficiency = out.plan.time.tokens_per_second() / after / ranks / rate;
  out.spread = 1 / after;
  // Names the part that grew most, as a share of the step.
  double grew = after - before;
  out.limit = "packs of different cost";
  const double idle = double(ranks) / layout.ranks();
  if (idle - 1 > grew) grew = idle - 1, out.limit = "micro batches that the ranks cannot share";
  const double whole = out.plan.time.seconds(), whole_before = start.time.seconds();
  for (const TimePart& part : out.plan.time.parts) {
    double share_before = 0;
    for (const TimePart& p : start.time.parts) {
      if (p.what == part.what) share_before = p.seconds / whole_before;
    }
    if (part.seconds / whole - share_before > grew) {
      grew = part.seconds / whole - share_before;
      out.limit = part.what + ": " + part.limit;
    }
  }
  return out;
}

}  // namespace elastron::train
