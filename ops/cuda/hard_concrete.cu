#include "core/cuda/launch.h"
#include "ops/cuda/hard_concrete.h"

namespace elastron::ops::cuda {

using namespace elastron::cuda;
using detail::HardConcreteNumbers;

namespace {

constexpr int kThreads = 128;

template <class A>
__global__ void forward_kernel(const A* log_alpha, int64_t gates, int64_t heads,
                               HardConcreteNumbers<A> n, uint64_t seed, uint32_t step,
                               uint32_t layer, uint32_t first_kv_head, const uint32_t* sample_keys,
                               uint8_t* gate, A* value) {
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= gates) return;
  const int64_t h = i % heads;
  const A x = sample_keys == nullptr ? log_alpha[h]
                                     : detail::noisy_logit(log_alpha + h, 1, GateNoise::logistic,
                                                           {seed, step, sample_keys[i / heads],
                                                            layer, first_kv_head + uint32_t(h)});
  value[i] = detail::hard_concrete_value(x, n);
  gate[i] = x > n.threshold ? 1 : 0;
}

// A thread per head, the sequences in their order: the same sum every time.
template <class A>
__global__ void backward_kernel(const A* d_gate, const A* value, int64_t gates, int64_t heads,
                                HardConcreteNumbers<A> n, A* d_log_alpha) {
  const int64_t h = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (h >= heads) return;
  A sum = 0;
  for (int64_t i = h; i < gates; i += heads) {
    sum += d_gate[i] * detail::hard_concrete_slope(value[i], n);
  }
  d_log_alpha[h] += sum;
}

}  // namespace

template <class A>
void hard_concrete_forward(const A* log_alpha, int64_t sequences, int64_t heads,
                           const HardConcreteNumbers<A>& n, const GateSampling& sampling,
                           const uint32_t* sample_keys, uint8_t* gate, A* value, Stream stream) {
  const int64_t gates = sequences * heads;
  launch("hard_concrete", forward_kernel<A>, over_items(gates, kThreads), stream, log_alpha, gates,
         heads, n, sampling.seed, sampling.step, sampling.layer, sampling.first_kv_head,
         sample_keys, gate, value);
}

template <class A>
void hard_concrete_backward(const A* d_gate, const A* value, int64_t sequences, int64_t heads,
                            const HardConcreteNumbers<A>& n, A* d_log_alpha, Stream stream) {
  launch("hard_concrete_backward", backward_kernel<A>, over_items(heads, kThreads), stream, d_gate,
         value, sequences * heads, heads, n, d_log_alpha);
}

#define ELASTRON_FOR(A)                                                                      \
  template void hard_concrete_forward<A>(const A*, int64_t, int64_t,                         \
                                         const HardConcreteNumbers<A>&, const GateSampling&, \
                                         const uint32_t*, uint8_t*, A*, Stream);             \
  template void hard_concrete_backward<A>(const A*, const A*, int64_t, int64_t,              \
                                          const HardConcreteNumbers<A>&, A*, Stream);
ELASTRON_FOR(double)
ELASTRON_FOR(float)
#undef ELASTRON_FOR

}  // namespace elastron::ops::cuda
