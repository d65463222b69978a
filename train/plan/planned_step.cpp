#include "train/plan/planned_step.h"

#include <algorithm>
#include <utility>

#include "parallel/mesh.h"
#include "train/plan/planned_batch.h"
#include "train/step/optimizer.h"
#include "train/step/step.h"
#include "train/trained_model.h"

namespace elastron::train {

namespace {

// Memory as the loss finds it: the forward pass has saved all that it will.
struct BeforeLoss {
  std::vector<int64_t> live;  // by range
  int64_t in_use = 0, hidden = 0, rows = 0;
};

class WatchedLoss final : public TrainingLoss {
 public:
  WatchedLoss(TrainingLoss& loss, MetaDevice& device) : loss_(loss), device_(device) {}

  int64_t terms(const data::PackedBatch& batch) const override { return loss_.terms(batch); }
  int64_t labels(const data::PackedBatch& batch) const override { return loss_.labels(batch); }
  Value evaluate(const Tensor& hidden, const model::DeviceBatch& batch, double scale,
                 bool need_hidden, const std::function<void(Parameter&)>& on_gradient) override {
    seen_ = {.live = {},
             .in_use = device_.memory().in_use_bytes,
             .hidden = int64_t(hidden.bytes()),
             .rows = hidden.size(0)};
    for (const RangeRecord& range : device_.ranges()) seen_.live.push_back(range.live_bytes);
    return loss_.evaluate(hidden, batch, scale, need_hidden, on_gradient);
  }
  std::vector<double> sums() const override { return loss_.sums(); }
  void reset() override { loss_.reset(); }

  const BeforeLoss& seen() const { return seen_; }

 private:
  TrainingLoss& loss_;
  MetaDevice& device_;
  BeforeLoss seen_;
};

int64_t live_in(const std::vector<RangeRecord>& ranges, std::string_view name) {
  int64_t bytes = 0;
  for (const RangeRecord& range : ranges) {
    if (range.name == name) bytes += range.live_bytes;
  }
  return bytes;
}
int64_t most_live_in(const std::vector<RangeRecord>& ranges, std::string_view name) {
  int64_t bytes = 0;
  for (const RangeRecord& range : ranges) {
    if (range.name == name) bytes = std::max(bytes, range.most_live_bytes);
  }
  return bytes;
}

// The range of a layer's forward pass that makes a thing, and what the plan calls it.
constexpr std::pair<const char*, const char*> kKept[] = {
    {"MLP", "input"},
    {"attention", "attention outputs"},
    {"attention output", "between attention and MLP"},
    {"projections", "queries, keys and values"},
    {"gate and up", "MLP gate and up"},
    {"router", "gates and routers"},
};

void add_saved(const std::vector<RangeRecord>& ranges, const std::vector<RangeRole>& roles,
               const BeforeLoss& seen, int64_t held, int64_t layers, MemoryPlan& memory) {
  memory.saved = seen.in_use - held - seen.hidden;
  for (const auto& [range, name] : kKept) {
    int64_t bytes = 0;
    for (size_t i = 0; i < seen.live.size(); ++i) {
      if (roles[i].part == StepPart::layer && ranges[i].name == range) bytes += seen.live[i];
    }
    if (bytes >= layers) memory.layer.push_back({name, bytes / layers});
  }
}

// The most that the device held in each phase, beside what is held and saved.
void add_phases(const std::vector<RangeRecord>& ranges, const std::vector<RangeRole>& roles,
                int64_t peak, MemoryPlan& memory) {
  const auto name_of = [](const RangeRole& role) {
    switch (role.part) {
      case StepPart::layer: return role.mlp ? "MLP forward" : "attention forward";
      case StepPart::layer_backward: return role.mlp ? "MLP backward" : "attention backward";
      case StepPart::micro_batch:
      case StepPart::loss: return "loss";
      case StepPart::figures:
      case StepPart::outside:
      case StepPart::update: break;
    }
    return "update";
  };
  const int64_t beside = memory.held() + memory.saved;
  for (const char* name : {"attention forward", "MLP forward", "loss", "MLP backward",
                           "attention backward", "update"}) {
    int64_t most = 0;
    for (size_t i = 0; i < ranges.size(); ++i) {
      if (std::string_view(name_of(roles[i])) == name) most = std::max(most, ranges[i].peak_bytes);
    }
    if (most > 0) memory.phases.push_back({name, std::max<int64_t>(most - beside, 0)});
  }
  memory.working = peak - beside;
  memory.phase = std::ranges::max_element(memory.phases, {}, &MemoryItem::bytes)->name;
}

// Bytes of a parameter and of what an optimiser has for it.
int64_t bytes_of(const Parameter& p) {
  auto bytes = int64_t(stored_bytes(p));
  if (p.grad.defined()) bytes += int64_t(p.grad.bytes());
  if (p.master.defined() && p.master.raw() != p.value.raw()) bytes += int64_t(p.master.bytes());
  return bytes;
}

void add_held(TrainedModel& model, const Optimizer& optimizer, const MetaDevice& device,
              MemoryPlan& memory) {
  const auto& ranges = device.ranges();
  memory.packed = live_in(ranges, "packed weights");
  memory.tables = live_in(ranges, "rotary table");
  memory.gradients = live_in(ranges, "gradient buckets");
  int64_t others = 0;
  for (const Parameter* p : model.parameters()) {
    (p->group == ParameterGroup::backbone ? memory.weights : others) += bytes_of(*p);
  }
  const std::vector<Moments>& moments = optimizer.moments();
  for (size_t i = 0; i < moments.size(); ++i) {
    if (!moments[i].exp_avg.defined() ||
        optimizer.parameters()[i]->group != ParameterGroup::backbone) {
      continue;
    }
    memory.weights += 2 * int64_t(moments[i].exp_avg.bytes());
  }
  // The rest, with what is lost between tensors, belongs to what trains beside the backbone, or to
  // the backbone where that is all.
  const int64_t rest =
      device.memory().in_use_bytes - memory.weights - memory.packed - memory.tables;
  (others > 0 ? memory.trained : memory.weights) += rest;
}

DeviceCalls calls_of(const std::vector<RangeRecord>& ranges, const std::vector<RangeRole>& roles,
                     bool layers_only, double share) {
  DeviceCalls calls;
  for (size_t i = 0; i < ranges.size(); ++i) {
    const RangeRole& role = roles[i];
    const bool counts = layers_only
                            ? role.in_layers()
                            : role.part != StepPart::outside && role.part != StepPart::update;
    if (!counts) continue;
    for (const OpRecord& op : ranges[i].ops) calls.launches += share * double(op.sum.launches);
    calls.host_waits += share * double(ranges[i].host_waits);
    calls.copies += share * double(ranges[i].copies);
    calls.allocations += share * double(ranges[i].allocations);
  }
  return calls;
}

// In proportion to the tokens, attention's pairs also to the documents' length.
void scale_up(double tokens, double documents, PlannedStep& step) {
  const auto scale = [&](int64_t& bytes) { bytes = int64_t(double(bytes) * tokens); };
  MemoryPlan& m = step.memory;
  for (int64_t* bytes : {&m.saved, &m.working, &m.logits, &m.communication}) scale(*bytes);
  for (auto* items : {&m.layer, &m.phases}) {
    for (MemoryItem& item : *items) scale(item.bytes);
  }
  scale(step.rows);
  for (RangeRecord& range : step.ranges) {
    for (OpRecord& op : range.ops) {
      const bool attends = op.sum.kind != WorkKind::products && op.sum.kind != WorkKind::memory;
      op.sum.flops *= tokens * (attends ? documents : 1);
      op.sum.bytes *= tokens;
    }
  }
  for (PlannedCollective& c : step.micro_batch) scale(c.bytes);
}

constexpr int64_t kMostTokens = int64_t(1) << 20;

}  // namespace

std::vector<PlannedCollective> sorted_collectives(const parallel::CollectiveLog& log) {
  std::vector<PlannedCollective> list;
  for (const auto& c : log) {
    const RangeRole role = RangeRole::of_path(c.range);
    const bool sums = c.operation == "all_reduce" || c.operation == "reduce_scatter";
    const char* when = role.again                              ? "again"
                       : role.part == StepPart::layer_backward ? "backward"
                                                               : "forward";
    std::string what;
    if (c.host) {
      what = "figures";
    } else if (c.axis == "grad" || c.axis == "world") {
      what = c.operation == "broadcast" ? "weights of a shared optimiser" : "gradients";
    } else if (role.part == StepPart::loss) {
      what = "loss";
    } else if (c.axis == "tensor" && role.router) {
      what = "closed gates";
    } else if (c.axis == "tensor") {
      what = !role.in_layers() && sums ? "embedding"
                                       : (sums ? "layers " : "rows ") + std::string(when);
    } else if (c.operation == "all_to_all") {
      what = std::string("heads ") + when;
    } else if (role.router || c.operation == "all_reduce") {
      what = role.part == StepPart::layer_backward ? "pooled keys' gradients" : "pooled keys";
    } else {
      what = sums ? "their gradients" : std::string("keys and values ") + when;
    }
    const auto found = std::ranges::find_if(list, [&](const PlannedCollective& l) {
      return l.operation == c.operation && l.axis == c.axis && l.what == what &&
             l.role.part == role.part;
    });
    if (found != list.end()) {
      found->bytes += c.bytes;
      ++found->calls;
    } else {
      list.push_back({c.operation, c.axis, what, c.bytes, 1, role});
    }
  }
  return list;
}

PlannedStep plan_step(const Config& whole_config, const model::ModelConfig& m,
                      const parallel::MeshLayout& layout, DeviceKind as, const Expected& expected,
                      const ops::AttentionMeans& means, const ops::ForbiddenKernels& forbidden) {
  Config config = whole_config;
  config.parallel.data.value = layout.data;
  config.parallel.context = layout.context;
  config.parallel.tensor = layout.tensor;
  const int64_t all_tokens = micro_batch_tokens(config);
  if (all_tokens > kMostTokens) {
    config.train.micro_batch =
        std::max<int64_t>(kMostTokens * config.train.micro_batch / all_tokens, 1);
    config.data.max_tokens = std::min(config.data.max_tokens, kMostTokens);
  }

  MetaDevice device(as);
  auto& attention = device.attached<ops::AttentionExpectations>();
  attention.sparse_heads = config.has_routers() ? expected.msr : 0;
  attention.chosen = expected.xattention;
  attention.means = means;
  device.attached<ops::ForbiddenKernels>() = forbidden;
  parallel::CollectiveLog log;
  parallel::Mesh mesh = parallel::Mesh::recording(layout, {}, log);
  TrainedModel model(config, m, /*training=*/true, mesh, device);
  Optimizer optimizer(model.objective_parameters(), config.train.adam, config.train.weight_decay,
                      optimizer_group(config, mesh));
  auto routed = model.training_gates();
  const auto loss = model.make_loss();
  WatchedLoss watched(*loss, device);
  StepRunner runner(config, mesh, device, model.decoder(), routed, watched, model.objective(),
                    optimizer);
  const auto batch = planned_batch(config, expected.document_tokens);
  const auto totals = StepTotals::of_alike(layout.data, batch, *loss);
  const auto run = [&] {
    MicroBatches one(1, batch);
    runner.run(0, one, totals, [] {});
  };
  // The first step makes the packed copies that the others find.
  if (as == DeviceKind::cpu) run();
  log.clear();
  device.clear_records();
  device.reset_peak();
  PlannedStep step;
  add_held(model, optimizer, device, step.memory);
  run();

  step.ranges = device.ranges();
  const auto roles = roles_of(step.ranges);
  const BeforeLoss& seen = watched.seen();
  const double layers = double(m.num_layers);
  step.rows = seen.rows;
  for (size_t i = 0; i < seen.live.size(); ++i) {
    if (step.ranges[i].name == "batch") step.memory.tables += seen.live[i];
  }
  if (trains_decoder(config)) {
    add_saved(step.ranges, roles, seen, step.memory.held(), m.num_layers, step.memory);
  }
  add_phases(step.ranges, roles, device.memory().peak_bytes, step.memory);
  step.memory.logits = most_live_in(step.ranges, "logits");
  step.memory.communication = most_live_in(step.ranges, "rows of other ranks");
  step.layer = calls_of(step.ranges, roles, /*layers_only=*/true, 1 / layers);
  step.whole = calls_of(step.ranges, roles, /*layers_only=*/false, 1);
  for (PlannedCollective& c : sorted_collectives(log)) {
    const bool of_micro_batch = c.axis == "tensor" || c.axis == "context";
    (of_micro_batch && c.role.part != StepPart::outside ? step.micro_batch : step.update)
        .push_back(std::move(c));
  }
  if (all_tokens > kMostTokens) {
    const double tokens = double(all_tokens) / double(micro_batch_tokens(config));
    scale_up(tokens, double(whole_config.data.max_tokens) / double(config.data.max_tokens), step);
  }
  return step;
}

}  // namespace elastron::train
