#include "core/cuda/launch.h"
#include "ops/cuda/head_groups.h"

namespace elastron::ops::cuda {

using namespace elastron::cuda;

namespace {

constexpr int kThreads = 128;

// A thread per number that is written: few of them, so that nothing is gained by more.
template <class A>
__global__ void sum_kernel(const A* x, int64_t numbers, int64_t each, int64_t width, A scale,
                           A* sum) {
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= numbers) return;
  const A* of = x + i / width * each * width + i % width;
  A total = 0;
  for (int64_t h = 0; h < each; ++h) total += of[h * width];
  sum[i] = scale * total;
}

template <class A>
__global__ void spread_kernel(const A* x, int64_t numbers, int64_t each, int64_t width, A scale,
                              A* spread) {
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= numbers) return;
  spread[i] = A(scale * x[i / (each * width) * width + i % width]);
}

}  // namespace

template <class A>
void sum_heads(const A* x, int64_t rows, int64_t each, int64_t width, A scale, A* sum,
               Stream stream) {
  const int64_t numbers = rows * width;
  launch("sum_heads", sum_kernel<A>, over_items(numbers, kThreads), stream, x, numbers, each, width,
         scale, sum);
}

template <class A>
void spread_over_heads(const A* x, int64_t rows, int64_t each, int64_t width, A scale, A* spread,
                       Stream stream) {
  const int64_t numbers = rows * each * width;
  launch("spread_over_heads", spread_kernel<A>, over_items(numbers, kThreads), stream, x, numbers,
         each, width, scale, spread);
}

#define ELASTRON_FOR(A)                                                           \
  template void sum_heads<A>(const A*, int64_t, int64_t, int64_t, A, A*, Stream); \
  template void spread_over_heads<A>(const A*, int64_t, int64_t, int64_t, A, A*, Stream);
ELASTRON_FOR(double)
ELASTRON_FOR(float)
#undef ELASTRON_FOR
template void spread_over_heads<uint8_t>(const uint8_t*, int64_t, int64_t, int64_t, uint8_t,
                                         uint8_t*, Stream);

}  // namespace elastron::ops::cuda
