// What the back ends of ops/sparsity_objective.h are given: plain pointers, checked by the caller.
#pragma once
#include <cstdint>

#include "ops/sparsity_objective.h"

namespace elastron::ops::detail {

// A: the multipliers' dtype.
template <class A>
struct ObjectiveArgs {
  const double* closed = nullptr;  // [documents]
  double of = 1;                   // MSR_b = closed_b / of
  const ObjectiveDocument* documents = nullptr;
  int64_t count = 0, tasks = 0, heads = 0;
  const A *lambda1 = nullptr, *lambda2 = nullptr;  // [tasks]
  A *d_lambda1 = nullptr, *d_lambda2 = nullptr;    // [tasks], added to; null: not wanted
  SparsityObjectiveRule rule;
  double *value = nullptr, *reg = nullptr, *d_msr = nullptr;
  A* d_gate = nullptr;  // [documents, heads]
};

}  // namespace elastron::ops::detail
