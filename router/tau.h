// Temperature of the training gate (spec 2.4).
#pragma once
#include <cstdint>

#include "router/config.h"

namespace elastron::router {

// `step` counts optimiser steps from 0.
double gate_temperature(const RouterConfig& config, int64_t step, int64_t max_steps);

}  // namespace elastron::router
