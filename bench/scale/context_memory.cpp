// A step's activations on one rank and on context-parallel ranks, by the device's counter.
#include <cstdio>

#include "bench/scale/context.h"
#include "bench/scale/training_run.h"
#include "core/config/names.h"
#include "parallel/world.h"
#include "train/plan/memory_check.h"

namespace elastron::bench {

namespace {

struct Case {
  train::ContextKind kind;
  model::Recompute recompute;
};

std::string name(const Case& c) {
  return std::string(config::enum_name(c.kind)) + ", recompute " +
         std::string(config::enum_name(c.recompute));
}

train::Config config_of(const MemoryShapes& shapes, const Case& c, int ranks) {
  train::Config config = router_training(shapes.tokens);
  config.parallel.context = ranks;
  config.parallel.context_kind = c.kind;
  config.train.recompute = c.recompute;
  return config;
}

}  // namespace

nlohmann::json context_memory(const MemoryShapes& shapes, parallel::World& world) {
  using model::Recompute;
  using train::ContextKind;
  const bool speaks = world.rank() == 0;
  const auto all = world.split(0, world.rank(), "world");
  const auto model = small_model(shapes.layers, shapes.hidden);
  // One rank alone: each takes a kind of recomputation.
  const Recompute kinds[] = {Recompute::none, Recompute::layer, Recompute::selective};
  std::vector<double> alone(std::size(kinds), 0.0);
  for (size_t i = 0; i < std::size(kinds); ++i) {
    if (int(i) % world.size() != world.rank()) continue;
    parallel::Mesh mesh = parallel::Mesh::single();
    const auto config = config_of(shapes, {ContextKind::gather, kinds[i]}, 1);
    TrainingRun run(config, model, mesh);
    alone[i] = double(run.step_bytes());
  }
  all->all_reduce_host(std::span(alone), parallel::ReduceOp::sum);

  nlohmann::json out = {{"tokens", shapes.tokens},
                        {"layers", shapes.layers},
                        {"hidden", shapes.hidden},
                        {"ranks", world.size()}};
  if (speaks) {
    std::printf(
        "%ld tokens of one document, %ld layers, hidden %ld, %ld/%ld heads of %ld, "
        "float32, routers trained: bytes that a step adds to what is held\n",
        long(shapes.tokens), long(shapes.layers), long(shapes.hidden), long(model.q_heads),
        long(model.kv_heads), long(model.head_dim));
  }
  const parallel::MeshLayout layout{.data = 1, .context = world.size(), .tensor = 1};
  parallel::Mesh mesh(world, layout);
  for (const auto& [c, index] : {std::pair{Case{ContextKind::gather, Recompute::none}, 0},
                                 {Case{ContextKind::gather, Recompute::layer}, 1},
                                 {Case{ContextKind::gather, Recompute::selective}, 2},
                                 {Case{ContextKind::ulysses, Recompute::none}, 0}}) {
    const auto config = config_of(shapes, c, world.size());
    double most = 0, planned = 0;
    {
      TrainingRun run(config, model, mesh);
      most = double(run.step_bytes());
      const auto plan = train::planned_memory(config, model, layout, run.device());
      planned = double(plan.saved + plan.working);
    }
    all->all_reduce_host(std::span(&most, 1), parallel::ReduceOp::max);
    const double one = alone[size_t(index)];
    if (speaks) {
      std::printf(
          "  %-28s 1 rank %8.1f MiB   %d ranks %8.1f MiB of the fullest (planned %.1f)   "
          "ratio %.3f\n",
          name(c).c_str(), one / double(1 << 20), world.size(), most / double(1 << 20),
          planned / double(1 << 20), most / one);
      std::fflush(stdout);
    }
    out["cases"].push_back({{"kind", config::enum_name(c.kind)},
                            {"recompute", config::enum_name(c.recompute)},
                            {"one_rank_bytes", one},
                            {"bytes", most},
                            {"planned_bytes", planned},
                            {"ratio", most / one}});
  }
  return out;
}

}  // namespace elastron::bench
