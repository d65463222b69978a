// The report that `plan` prints, as text and as JSON.
#pragma once
#include <string>
#include <vector>

#include "core/json.h"
#include "train/plan/layouts.h"

namespace elastron::train {

struct PlanReport {
  DeviceSpec device;
  model::ModelConfig model;
  Expected expected;
  double pack_spread = 0;
  LayoutPlan own;                              // as configured
  std::vector<PlannedCollective> collectives;  // of `own`: a step's, per rank
  std::vector<LayoutPlan> layouts;             // ranked; empty: not asked for
  std::vector<ScalePlan> scaling;
  std::string keys;  // to turn
};

// `ranks`: of the configured layout. With `layouts` the table too. Throws UsageError for a layout
// that the model does not allow, with the nearest ones that work.
PlanReport make_plan(const Config& config, const model::ModelConfig& model, int ranks, bool layouts,
                     const DeviceSpec& device, const Expected& expected, double pack_spread);

std::string plan_text(const PlanReport& report);
nlohmann::json plan_json(const PlanReport& report);

}  // namespace elastron::train
