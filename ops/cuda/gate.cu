#include "core/cuda/launch.h"
#include "ops/cuda/gate.h"
#include "ops/cuda/primitives.h"
#include "ops/detail/gate_math.h"

namespace elastron::ops::cuda {

using namespace elastron::cuda;

namespace {

constexpr int kThreads = 128;

template <class A>
__global__ void sample_kernel(const A* logits, int64_t gates, int64_t heads, int64_t classes,
                              GateNoise noise, uint64_t seed, uint32_t step, uint32_t layer,
                              uint32_t first_kv_head, A tau, const uint32_t* sample_keys,
                              uint8_t* gate, A* probability) {
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= gates) return;
  const A noisy = detail::noisy_logit(
      logits + i * classes, classes, noise,
      {seed, step, sample_keys[i / heads], layer, first_kv_head + uint32_t(i % heads)});
  probability[i] = detail::gate_probability(noisy, tau);
  gate[i] = noisy > A(0) ? 1 : 0;
}

template <class A>
__global__ void decide_kernel(const A* logits, int64_t gates, int64_t classes, uint8_t* gate,
                              A* probability) {
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= gates) return;
  const A* l = logits + i * classes;
  const A margin = classes == 2 ? l[1] - l[0] : l[0];
  gate[i] = margin > A(0) ? 1 : 0;
  probability[i] = detail::gate_sigmoid(margin);
}

template <class A>
__global__ void backward_kernel(const A* d_gate, const A* probability, int64_t gates,
                                int64_t classes, A tau, A* d_logits) {
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= gates) return;
  const A d = d_gate[i] * detail::gate_slope(probability[i], tau);
  A* out = d_logits + i * classes;
  out[classes - 1] = d;
  if (classes == 2) out[0] = -d;
}

template <class A>
__global__ void tau_kernel(const A* d_gate, const A* probability, int64_t gates, A* d_log_tau) {
  __shared__ A scratch[kThreads / kWarp];
  A sum = 0;
  for (int64_t i = threadIdx.x; i < gates; i += kThreads) {
    sum += d_gate[i] * detail::gate_log_tau_slope(probability[i]);
  }
  sum = block_sum<kThreads>(sum, scratch);
  if (threadIdx.x == 0) *d_log_tau += sum;
}

}  // namespace

template <class A>
void gate_sample(const A* logits, int64_t sequences, int64_t heads, int64_t classes,
                 const GateSampling& sampling, const uint32_t* sample_keys, uint8_t* gate,
                 A* probability, Stream stream) {
  const int64_t gates = sequences * heads;
  launch("gate_sample", sample_kernel<A>, over_items(gates, kThreads), stream, logits, gates, heads,
         classes, sampling.noise, sampling.seed, sampling.step, sampling.layer,
         sampling.first_kv_head, A(sampling.tau), sample_keys, gate, probability);
}

template <class A>
void gate_decide(const A* logits, int64_t gates, int64_t classes, uint8_t* gate, A* probability,
                 Stream stream) {
  launch("gate_decide", decide_kernel<A>, over_items(gates, kThreads), stream, logits, gates,
         classes, gate, probability);
}

template <class A>
void gate_backward(const A* d_gate, const A* probability, int64_t gates, int64_t classes,
                   double tau, A* d_logits, Stream stream) {
  launch("gate_backward", backward_kernel<A>, over_items(gates, kThreads), stream, d_gate,
         probability, gates, classes, A(tau), d_logits);
}

template <class A>
void gate_tau_backward(const A* d_gate, const A* probability, int64_t gates, A* d_log_tau,
                       Stream stream) {
  launch("gate_tau_backward", tau_kernel<A>, LaunchShape{dim3(1), dim3(kThreads)}, stream, d_gate,
         probability, gates, d_log_tau);
}

#define ELASTRON_FOR(A)                                                                     \
  template void gate_sample<A>(const A*, int64_t, int64_t, int64_t, const GateSampling&,    \
                               const uint32_t*, uint8_t*, A*, Stream);                      \
  template void gate_decide<A>(const A*, int64_t, int64_t, uint8_t*, A*, Stream);           \
  template void gate_backward<A>(const A*, const A*, int64_t, int64_t, double, A*, Stream); \
  template void gate_tau_backward<A>(const A*, const A*, int64_t, A*, Stream);
ELASTRON_FOR(double)
ELASTRON_FOR(float)
#undef ELASTRON_FOR

}  // namespace elastron::ops::cuda
