#include "router/tau.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace elastron::router {

double gate_temperature(const RouterConfig& config, int64_t step, int64_t max_steps) {
  const TauConfig& tau = config.tau;
  const double fraction = max_steps > 0 ? double(step) / double(max_steps) : 0.0;
  switch (config.tau_schedule) {
    case TauSchedule::constant:
    case TauSchedule::learned: return tau.init;
    case TauSchedule::exp_fraction:
      return std::max(tau.min, tau.init * std::exp(-tau.rate * fraction));
    case TauSchedule::exp_step:
      return std::max(tau.min, tau.init * std::exp(-tau.rate * double(step)));
    case TauSchedule::cosine: {
      // From init to min over the first `rate` of the run: the reference's 1 + (1 + cos) / 4.
      const double steps = std::ceil(tau.rate * double(max_steps) - 1e-9);
      if (double(step) >= steps) return tau.min;
      return tau.min +
             (tau.init - tau.min) * 0.5 * (1.0 + std::cos(std::numbers::pi * double(step) / steps));
    }
  }
  throw LogicError("unknown tau schedule");
}

LearnedTemperature learned_temperature(double log_tau) {
  const double tau = std::exp(log_tau);
  return {std::clamp(tau, kLearnedTauMin, kLearnedTauMax),
          tau >= kLearnedTauMin && tau <= kLearnedTauMax};
}

}  // namespace elastron::router
