#include "train/plan/simulate.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/philox.h"
#include "train/step/step_batches.h"

namespace elastron::train {

namespace {

// The purpose of a random number, beside step and pack.
enum Drawn : uint32_t { straggler, pack_cost, collective_time, heads };

RandomStream stream(uint64_t seed, Drawn what, int64_t step, int64_t which, int64_t layer = 0) {
  return {seed, RandomPurpose::simulation, uint32_t(step), uint32_t(which),
          uint32_t(what) << 16 | uint32_t(layer)};
}

// A random factor of mean 1 with a standard deviation.
struct Lognormal {
  explicit Lognormal(double deviation)
      : variance(std::log(1 + deviation * deviation)), sigma(std::sqrt(variance)) {}
  double at(double normal) const { return std::exp(sigma * normal - variance / 2); }
  double variance, sigma;
};

// All calls of a stage count as one whose spread is that of their sum.
struct Collective {
  std::string axis;
  double seconds = 0;
  Lognormal time;
};

// The times of a micro batch and layer, or of the loss.
struct Stage {
  double even = 0, selected = 0;  // seconds; those of selected attention by the rank's heads
  std::vector<Collective> collectives;

  bool empty() const { return even + selected == 0 && collectives.empty(); }
};

struct StepSchedule {
  Stage forward, loss, backward;
  Stage end;  // once a step: even alone, and collectives
};

Phase phase_of(const PlannedCollective& c) {
  if (c.role.part == StepPart::loss) return Phase::loss;
  return c.role.part == StepPart::layer_backward ? Phase::backward : Phase::forward;
}

StepSchedule schedule_of(const LayoutPlan& plan, const model::ModelConfig& model,
                         const DeviceSpec& device, double jitter) {
  StepSchedule out;
  const StepTime& time = plan.time;
  const double layers = double(model.num_layers);
  const auto add = [&](Stage& stage, const TimePart& part, double share) {
    const double seconds = share * part.seconds / time.micro_batches;
    (part.selected ? stage.selected : stage.even) += seconds / (part.selected ? time.uneven : 1);
  };
  for (const TimePart& part : time.parts) {
    switch (part.phase) {
      case Phase::forward: add(out.forward, part, 1 / layers); break;
      case Phase::backward: add(out.backward, part, 1 / layers); break;
      case Phase::loss: add(out.loss, part, 1); break;
      case Phase::end: out.end.even += part.seconds; break;
      case Phase::collectives: break;  // below, one by one
    }
  }
  for (const auto& c : plan.step.micro_batch) {
    const Phase phase = phase_of(c);
    Stage& stage = phase == Phase::loss      ? out.loss
                   : phase == Phase::forward ? out.forward
                                             : out.backward;
    const double times = phase == Phase::loss ? 1 : layers;
    const double seconds = collective_seconds(c, plan.layout, device) / times;
    const double calls = std::max(double(c.calls) / times, 1.0);
    stage.collectives.push_back({c.axis, seconds, Lognormal(jitter / std::sqrt(calls))});
  }
  for (const auto& c : plan.step.update) {
    out.end.collectives.push_back({c.axis, collective_seconds(c, plan.layout, device),
                                   Lognormal(jitter / std::sqrt(double(c.calls)))});
  }
  return out;
}

// Ranks in the order tensor, context, data.
class Step {
 public:
  Step(const LayoutPlan& plan, const Disturbances& disturbances, uint64_t seed, int64_t step)
      : layout_(plan.layout),
        disturbances_(disturbances),
        seed_(seed),
        step_(step),
        now_(size_t(layout_.ranks()), 0.0),
        slow_(now_.size(), 1.0),
        load_(size_t(layout_.context * layout_.tensor), 1.0) {
    for (size_t r = 0; r < slow_.size(); ++r) {
      const double drawn = stream(seed, straggler, 0, int64_t(r)).uniform_at(0);
      if (drawn < disturbances.straggler_share) slow_[r] = disturbances.straggler_factor;
    }
  }

  // Steps the ranks of one data rank. `load`: each one's factor on its selected attention.
  void compute(int data, const Stage& stage, double cost) {
    const size_t first = size_t(data) * load_.size();
    for (size_t i = 0; i < load_.size(); ++i) {
      const double seconds = (stage.even + stage.selected * load_[i]) * cost * slow_[first + i];
      now_[first + i] += seconds;
      computing_ += seconds;
    }
  }
  void begin_data_rank(int data) {
    times_ = stream(seed_, collective_time, step_, data);
    drawn_ = 0;
  }
  void collectives(int data, const Stage& stage) {
    const int t = layout_.tensor, c = layout_.context, first = data * t * c;
    for (const Collective& of : stage.collectives) {
      if (of.axis == "tensor") {
        for (int i = 0; i < c; ++i) meet(of, first + i * t, 1, t);
      } else {
        for (int i = 0; i < t; ++i) meet(of, first + i, t, c);
      }
    }
  }
  void end(const Stage& stage) {
    begin_data_rank(layout_.data);
    for (const Collective& of : stage.collectives) {
      const int t = layout_.tensor, c = layout_.context;
      if (of.axis == "tensor") {
        for (int first = 0; first < layout_.ranks(); first += t) meet(of, first, 1, t);
      } else if (of.axis == "grad") {
        for (int i = 0; i < t; ++i) meet(of, i, t, layout_.data * c);
      } else if (of.axis == "data") {
        for (int i = 0; i < t * c; ++i) meet(of, i, t * c, layout_.data);
      } else {
        meet(of, 0, 1, layout_.ranks());
      }
    }
    for (int d = 0; d < layout_.data; ++d) compute(d, {.even = stage.even, .collectives = {}}, 1);
  }

  // Which heads each rank has of a layer, or whether it is sparse as a whole, and so how much
  // selected attention over the mean.
  void draw_heads(const LayoutPlan& plan, int64_t kv_heads, double msr, int64_t pack,
                  int64_t layer) {
    const bool exchanges = plan.config.parallel.context_kind == ContextKind::ulysses;
    const int split = layout_.tensor * (exchanges ? layout_.context : 1);
    const int64_t each = kv_heads / split;
    const double sparse = plan.time.sparse, mean = double(each) * (1 - msr + msr * sparse);
    const RandomStream draws = stream(seed_, heads, step_, pack, layer);
    for (int part = 0; part < split; ++part) {
      double sum = 0;
      for (int64_t h = part * each; h < (part + 1) * each; ++h) {
        const uint64_t draw = plan.config.router.by_layer() ? 0 : uint64_t(h);
        sum += double(draws.uniform_at(draw)) < msr ? sparse : 1;
      }
      // Context ranks that gather have the same heads.
      const int tensor = exchanges ? part / layout_.context : part;
      const int first = exchanges ? part % layout_.context : 0;
      const int last = exchanges ? first : layout_.context - 1;
      for (int c = first; c <= last; ++c) load_[size_t(c * layout_.tensor + tensor)] = sum / mean;
    }
  }

  SimulatedStep result() const {
    const double ranks = double(now_.size());
    return {.seconds = *std::ranges::max_element(now_),
            .computing = computing_ / ranks,
            .in_collectives = in_collectives_ / ranks};
  }

 private:
  // `count` ranks, `stride` apart.
  void meet(const Collective& of, int first, int stride, int count) {
    double last = 0;
    for (int i = 0; i < count; ++i) last = std::max(last, now_[size_t(first + i * stride)]);
    double seconds = of.seconds * disturbances_.link_share;
    if (disturbances_.jitter > 0) {
      seconds *= of.time.at(times_.normal_at(drawn_++));
    }
    for (int i = 0; i < count; ++i) now_[size_t(first + i * stride)] = last + seconds;
    in_collectives_ += seconds * count;
  }

  parallel::MeshLayout layout_;
  const Disturbances& disturbances_;
  uint64_t seed_;
  int64_t step_;
  std::vector<double> now_, slow_, load_;
  RandomStream times_{0, RandomPurpose::simulation};
  uint64_t drawn_ = 0;
  double computing_ = 0, in_collectives_ = 0;
};

}  // namespace

SimulatedStep simulate_step(const LayoutPlan& plan, const model::ModelConfig& model,
                            const DeviceSpec& device, const Expected& expected,
                            const Disturbances& disturbances, uint64_t seed, int64_t step) {
  const StepSchedule schedule = schedule_of(plan, model, device, disturbances.jitter);
  const auto& train = plan.config.train;
  const Lognormal spread(disturbances.pack_spread);
  std::vector<double> costs;
  for (int64_t i = 0; i * train.micro_batch < train.global_batch; ++i) {
    costs.push_back(spread.at(stream(seed, pack_cost, step, i).normal_at(0)));
  }
  const auto of_rank = deal(costs, plan.layout.data, plan.config.parallel.balance);
  const double msr = plan.config.has_routers() ? expected.msr : 0;
  Step ranks(plan, disturbances, seed, step);
  for (int d = 0; d < plan.layout.data; ++d) {
    ranks.begin_data_rank(d);
    for (const int64_t pack : of_rank[size_t(d)]) {
      const double cost = costs[size_t(pack)];
      const auto layers = [&](const Stage& stage, bool upwards) {
        if (stage.empty()) return;
        for (int64_t i = 0; i < model.num_layers; ++i) {
          const int64_t layer = upwards ? i : model.num_layers - 1 - i;
          if (disturbances.draw_heads && stage.selected > 0) {
            ranks.draw_heads(plan, model.kv_heads, msr, pack, layer);
          }
          ranks.compute(d, stage, cost);
          ranks.collectives(d, stage);
        }
      };
      layers(schedule.forward, true);
      ranks.compute(d, schedule.loss, cost);
      ranks.collectives(d, schedule.loss);
      layers(schedule.backward, false);
    }
  }
  ranks.end(schedule.end);
  return ranks.result();
}

std::vector<SimulatedScale> simulate_scaling(const LayoutPlan& start,
                                             const model::ModelConfig& model,
                                             std::span<const int> ranks, bool weak,
                                             const DeviceSpec& device, const Expected& expected,
                                             const Disturbances& disturbances,
                                             const SimulatedRuns& runs) {
  std::vector<SimulatedScale> rows;
  double first_rate = 0;
  for (const int n : ranks) {
    SimulatedScale row{
        .planned = scale(start, model, n, weak, disturbances.pack_spread, device, expected),
        .mean = {},
        .limit = {}};
    const double count = double(runs.steps) * double(runs.seeds);
    double squares = 0;
    const auto mean = [&](const Disturbances& d, bool kept) {
      double sum = 0;
      for (uint64_t seed = 1; seed <= runs.seeds; ++seed) {
        for (int64_t step = 0; step < runs.steps; ++step) {
          const auto s = simulate_step(row.planned.plan, model, device, expected, d, seed, step);
          sum += s.seconds;
          if (!kept) continue;
          squares += s.seconds * s.seconds;
          row.mean.computing += s.computing / count;
          row.mean.in_collectives += s.in_collectives / count;
        }
      }
      return sum / count;
    };
    row.mean.seconds = mean(disturbances, true);
    const double variance = squares / count - row.mean.seconds * row.mean.seconds;
    row.spread = std::sqrt(std::max(variance, 0.0)) / row.mean.seconds;
    const double rate = row.planned.plan.time.tokens / row.mean.seconds / n;
    if (first_rate == 0) first_rate = rate;
    row.efficiency = rate / first_rate;

    const auto saved = [&](const auto& turn_off) {
      Disturbances without = disturbances;
      turn_off(without);
      return 1 - mean(without, false) / row.mean.seconds;
    };
    row.stragglers = saved([](Disturbances& d) { d.straggler_share = 0; });
    row.packs = saved([](Disturbances& d) { d.pack_spread = 0; });
    row.heads = saved([](Disturbances& d) { d.draw_heads = false; });
    row.jitter = saved([](Disturbances& d) { d.jitter = 0; });
    row.links = saved([](Disturbances& d) { d.link_share = 0; });
    const double idle = 1 - double(row.planned.plan.layout.ranks()) / n;
    double most = 0.01;
    row.limit = "nothing above 1 %";
    for (const auto& [share, what] : {std::pair{row.stragglers, "stragglers"},
                                      {row.packs, "packs of different cost"},
                                      {row.heads, "uneven heads"},
                                      {row.links, "links"},
                                      {idle, "micro batches that the ranks cannot share"}}) {
      if (share > most) most = share, row.limit = what;
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace elastron::train
