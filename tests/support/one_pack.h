// The sparsity objective of measured sparsities that the host has.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "router/objective.h"

namespace elastron::test {

struct ObjectiveValue {
  double value = 0;
  std::vector<double> d_msr, reg;  // [documents]
};

// MSRs are given as counts of one gate each.
inline ObjectiveValue evaluate_packs(router::SparsityObjective& objective,
                                     std::span<const int32_t> tasks, std::span<const double> msr,
                                     std::span<const int32_t> pack_ends, double accumulate_scale) {
  const auto out = objective.evaluate(
      tasks, {.closed = Tensor::from(msr, {int64_t(msr.size())}, objective.device())}, pack_ends,
      {.lambdas = accumulate_scale});
  return {out.value.to_vector<double>()[0], out.d_msr.to_vector<double>(),
          out.reg.to_vector<double>()};
}

// Of documents that are one pack.
inline ObjectiveValue evaluate_pack(router::SparsityObjective& objective,
                                    std::span<const int32_t> tasks, std::span<const double> msr,
                                    double accumulate_scale) {
  const int32_t ends[] = {int32_t(tasks.size())};
  return evaluate_packs(objective, tasks, msr, ends, accumulate_scale);
}

}  // namespace elastron::test
