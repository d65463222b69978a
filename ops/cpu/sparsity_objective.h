// CPU back end of ops/sparsity_objective.h.
#pragma once
#include <vector>

#include "ops/detail/objective_args.h"
#include "ops/detail/sparsity_objective_math.h"

namespace elastron::ops::cpu {

template <class A>
void sparsity_objective(const detail::ObjectiveArgs<A>& a) {
  std::vector<double> d_lambda1(size_t(a.tasks), 0.0), d_lambda2 = d_lambda1;
  double value = 0;
  for (int64_t b = 0; b < a.count; ++b) {
    const ObjectiveDocument& document = a.documents[b];
    const auto task = size_t(document.task);
    const auto term =
        detail::objective_term(a.closed[b] / a.of, document.target, double(a.lambda1[task]),
                               double(a.lambda2[task]), a.rule.multipliers, a.rule.absolute);
    const double w = document.weight;
    a.reg[b] = term.reg;
    a.d_msr[b] = w * term.d_reg;
    value += w * term.reg;
    d_lambda1[task] += a.rule.lambda_scale * w * term.linear;
    d_lambda2[task] += a.rule.lambda_scale * w * term.gap * term.gap;
    for (int64_t h = 0; h < a.heads; ++h) {
      a.d_gate[b * a.heads + h] = A(a.rule.gate_scale * a.d_msr[b] / a.of);
    }
  }
  *a.value = value;
  if (a.d_lambda1 == nullptr) return;
  for (int64_t t = 0; t < a.tasks; ++t) {
    a.d_lambda1[t] += A(d_lambda1[size_t(t)]);
    a.d_lambda2[t] += A(d_lambda2[size_t(t)]);
  }
}

}  // namespace elastron::ops::cpu
