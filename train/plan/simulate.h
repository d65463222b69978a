// A training step of many ranks, played from the planner's schedule: each rank computes its parts,
// and every collective begins when the last of its group has come. What step_time() has in a closed
// formula for equal ranks, with ranks, packs, heads and links that are not.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "train/plan/layouts.h"

namespace elastron::train {

// Departures from the plan. As it stands there are none.
struct Disturbances {
  double jitter = 0;            // standard deviation over mean of a collective's time, lognormal
  double straggler_share = 0;   // of the ranks, drawn once per seed
  double straggler_factor = 1;  // that they compute longer by
  double pack_spread = 0;       // standard deviation over mean of a pack's cost, lognormal
  // Each kv head sparse with probability msr, by pack and layer, or each layer, as
  // router.granularity says; false: all ranks have the same mix.
  bool draw_heads = false;
  double link_share = 1;  // of a collective's time: 0 for links without cost
};

struct SimulatedStep {
  double seconds = 0;
  // Parts of it, as means over the ranks; the rest of the time they wait for each other.
  double computing = 0, in_collectives = 0;
};

// plan.time's parts are spread evenly over the layers. Random numbers are a function of seed and
// step alone.
SimulatedStep simulate_step(const LayoutPlan& plan, const model::ModelConfig& model,
                            const DeviceSpec& device, const Expected& expected,
                            const Disturbances& disturbances, uint64_t seed, int64_t step);

// How many steps of how many seeds a mean is taken over.
struct SimulatedRuns {
  int64_t steps = 5;
  uint64_t seeds = 3;
};

struct SimulatedScale {
  ScalePlan planned;  // by the closed formulas
  SimulatedStep mean;
  double spread = 0;      // standard deviation of a step's seconds over their mean
  double efficiency = 0;  // tokens per second and rank, over those of the first
  // Share of the step's time that would be saved without each, the others staying.
  double stragglers = 0, packs = 0, heads = 0, jitter = 0, links = 0;
  std::string limit;  // which saves most
};

// `start` grown to each of `ranks` as scale() does; the first of them is what efficiency is
// measured by.
std::vector<SimulatedScale> simulate_scaling(const LayoutPlan& start,
                                             const model::ModelConfig& model,
                                             std::span<const int> ranks, bool weak,
                                             const DeviceSpec& device, const Expected& expected,
                                             const Disturbances& disturbances,
                                             const SimulatedRuns& runs);

}  // namespace elastron::train
