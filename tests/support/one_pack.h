// The sparsity objective of documents that are one pack.
#pragma once
#include <cstdint>
#include <span>

#include "router/objective.h"

namespace elastron::test {

inline router::ObjectiveValue evaluate_pack(router::SparsityObjective& objective,
                                            std::span<const int32_t> tasks,
                                            std::span<const double> msr, double accumulate_scale) {
  const int32_t ends[] = {int32_t(tasks.size())};
  return objective.evaluate(tasks, msr, ends, accumulate_scale);
}

}  // namespace elastron::test
