#include "core/cuda/launch.h"
#include "ops/cuda/primitives.h"
#include "ops/cuda/sparsity_objective.h"
#include "ops/detail/sparsity_objective_math.h"

namespace elastron::ops::cuda {

using namespace elastron::cuda;

namespace {

constexpr int kThreads = 256;

__global__ void count_closed_kernel(const uint8_t* const* gates, int64_t layers, int64_t heads,
                                    double* closed) {
  __shared__ double scratch[kThreads / kWarp];
  const int64_t first = int64_t(blockIdx.x) * heads;
  double count = 0;
  for (int64_t i = threadIdx.x; i < layers * heads; i += kThreads) {
    count += gates[i / heads][first + i % heads] == 0 ? 1 : 0;
  }
  count = block_sum<kThreads>(count, scratch);
  if (threadIdx.x == 0) closed[blockIdx.x] = count;
}

// One block: there are few documents, and sums over them.
template <class A>
__global__ void objective_kernel(detail::ObjectiveArgs<A> a) {
  __shared__ double scratch[kThreads / kWarp];
  const auto term_of = [&](int64_t b) {
    const ObjectiveDocument& document = a.documents[b];
    return detail::objective_term(
        a.closed[b] / a.of, document.target, double(a.lambda1[document.task]),
        double(a.lambda2[document.task]), a.rule.multipliers, a.rule.absolute);
  };
  double value = 0;
  for (int64_t b = threadIdx.x; b < a.count; b += kThreads) {
    const auto term = term_of(b);
    const double w = a.documents[b].weight;
    a.reg[b] = term.reg;
    a.d_msr[b] = w * term.d_reg;
    value += w * term.reg;
    for (int64_t h = 0; h < a.heads; ++h) {
      a.d_gate[b * a.heads + h] = A(a.rule.gate_scale * (w * term.d_reg) / a.of);
    }
  }
  value = block_sum<kThreads>(value, scratch);
  if (threadIdx.x == 0) *a.value = value;
  if (a.d_lambda1 == nullptr) return;
  for (int64_t t = 0; t < a.tasks; ++t) {
    double linear = 0, quadratic = 0;
    for (int64_t b = threadIdx.x; b < a.count; b += kThreads) {
      if (a.documents[b].task != t) continue;
      const auto term = term_of(b);
      const double w = a.documents[b].weight;
      linear += a.rule.lambda_scale * w * term.linear;
      quadratic += a.rule.lambda_scale * w * term.gap * term.gap;
    }
    __syncthreads();
    linear = block_sum<kThreads>(linear, scratch);
    __syncthreads();
    quadratic = block_sum<kThreads>(quadratic, scratch);
    if (threadIdx.x != 0) continue;
    a.d_lambda1[t] += A(linear);
    a.d_lambda2[t] += A(quadratic);
  }
}

}  // namespace

void count_closed_gates(const uint8_t* const* gates, int64_t layers, int64_t documents,
                        int64_t heads, double* closed, Stream stream) {
  launch("count_closed_gates", count_closed_kernel, {dim3(unsigned(documents)), dim3(kThreads)},
         stream, gates, layers, heads, closed);
}

template <class A>
void sparsity_objective(const detail::ObjectiveArgs<A>& args, Stream stream) {
  launch("sparsity_objective", objective_kernel<A>, {dim3(1), dim3(kThreads)}, stream, args);
}

template void sparsity_objective<float>(const detail::ObjectiveArgs<float>&, Stream);
template void sparsity_objective<double>(const detail::ObjectiveArgs<double>&, Stream);

}  // namespace elastron::ops::cuda
