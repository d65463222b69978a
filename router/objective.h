// The sparsity objective: per task a linear and a quadratic penalty on the gap between the measured
// sparsity and its target, with multipliers that ascend (docs/method.md, Objective).
//
//   gap_b = MSR_b - t[task_b],  reg_b = lambda1[task_b] f(gap_b) + lambda2[task_b] gap_b^2,
//   Reg = mean over the packs of a step of
//         (mean over the tasks present in the pack of (mean over that task's documents of reg_b))
//
// A pack is what the paper's code has in a micro batch: with it as the unit, how many packs are
// computed at a time changes nothing.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/parameter.h"
#include "ops/sparsity_objective.h"
#include "router/config.h"

namespace elastron::router {

// Whether documents of the task need far context (P section 4): Single QA and MultiHop QA.
bool is_sensitive_task(std::string_view name);

// Target sparsity by task id. Sensitive tasks get t_sen, others t_rob,
// unless reg.targets names them. Throws UsageError for a name that is no task.
std::vector<double> task_targets(const RegConfig& config, std::span<const std::string> task_names);

// The gates of a micro batch's documents, on the device.
struct GateCounts {
  Tensor closed;      // [D] float64: closed ones, of all layers and of all ranks' heads
  double of = 1;      // MSR_b = closed_b / of
  int64_t heads = 0;  // of this rank, in a layer
};

struct ObjectiveScales {
  double lambdas = 0;  // times which the multipliers' gradients are added; 0: they are not
  double gates = 0;    // times dReg / dMSR_b / GateCounts::of is d_gate
};

class SparsityObjective {
 public:
  // Owns lambda1 and lambda2 ("objective.lambda1", "objective.lambda2", [tasks], master dtype):
  // uniform in [0, 0.5), a function of the seed.
  SparsityObjective(const RegConfig& config, std::vector<double> targets, DType dtype,
                    uint64_t seed, bool trainable, Device& device);

  // None with reg.enabled false.
  void append_parameters(ParameterList& list);
  Device& device() const { return lambda1_.value.device(); }
  double target(int64_t task) const { return targets_[size_t(task)]; }
  std::vector<double> lambda1() const { return host(lambda1_); }
  std::vector<double> lambda2() const { return host(lambda2_); }

  // Value and gradient of the sum of Reg over some packs, computed on the device, which is not
  // waited for; tasks per document, pack_ends the documents up to each pack's end.
  ops::SparsityObjectiveOutput evaluate(std::span<const int32_t> tasks, const GateCounts& gates,
                                        std::span<const int32_t> pack_ends,
                                        const ObjectiveScales& scales);
  // After an optimiser step: reg.lambda_clamp.
  void clamp();

 private:
  static std::vector<double> host(const Parameter& p);
  // The weight of each document of a pack in its Reg.
  std::vector<double> document_weights(std::span<const int32_t> tasks) const;

  RegConfig config_;
  std::vector<double> targets_;
  Parameter lambda1_, lambda2_;
};

}  // namespace elastron::router
