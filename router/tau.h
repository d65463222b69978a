// Temperature of the training gate (docs/method.md, Temperature).
#pragma once
#include <cstdint>

#include "router/config.h"

namespace elastron::router {

// `step` counts optimiser steps from 0. A learned temperature does not depend on it: see below.
double gate_temperature(const RouterConfig& config, int64_t step, int64_t max_steps);

// tau_schedule learned: tau = clamp(exp(log_tau), 0.3, 1) with one log_tau per layer
// (docs/method.md, Router network), from tau.init on. Beyond the bounds log_tau has no gradient and
// only weight decay brings it back, so that a start on the bound, as in the reference code, may
// well stay there.
struct LearnedTemperature {
  double tau;
  bool moves;  // log_tau has a gradient
};
LearnedTemperature learned_temperature(double log_tau);

}  // namespace elastron::router
