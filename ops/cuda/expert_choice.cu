#include "core/cuda/launch.h"
#include "ops/cuda/expert_choice.h"
#include "ops/cuda/primitives.h"
#include "ops/detail/topk_math.h"
#include "ops/detail/vector_math.h"

namespace elastron::ops::cuda {

using namespace elastron::cuda;

namespace {

constexpr int kThreads = 128;
constexpr int64_t kMostBlocks = 65536;

// f(token) for those of this warp, with all of its lanes.
template <class F>
__device__ __forceinline__ void for_tokens(int64_t tokens, const F& f) {
  constexpr int kWarps = kThreads / kWarp;
  for (int64_t t = int64_t(blockIdx.x) * kWarps + threadIdx.x / kWarp; t < tokens;
       t += int64_t(gridDim.x) * kWarps) {
    f(t);
  }
}
LaunchShape shape_for(int64_t tokens) {
  LaunchShape shape = over_items(tokens, kThreads / kWarp, kMostBlocks);
  shape.block.x = kThreads;
  return shape;
}

// The highest key, the lower expert of equals, over the lanes.
template <class Key>
__device__ __forceinline__ int best_expert(Key key, int expert) {
#pragma unroll
  for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) {
    const Key other = __shfl_xor_sync(kAllLanes, key, lanes);
    const int its = __shfl_xor_sync(kAllLanes, expert, lanes);
    // A lane without one left gives -1.
    const bool better = its >= 0 && (expert < 0 || other > key || (other == key && its < expert));
    if (better) key = other, expert = its;
  }
  return expert;
}

// Expert e is bit e / 32 of lane e % 32.
template <class T>
__global__ void choose_experts_kernel(const T* logits, int64_t tokens, int experts, int k,
                                      int32_t* chosen) {
  using A = accumulator_t<T>;
  using Key = detail::order_key_t<A>;
  const int lane = int(threadIdx.x) % kWarp;
  for_tokens(tokens, [&](int64_t t) {
    const T* row = logits + t * experts;
    uint32_t taken = 0;
    for (int j = 0; j < k; ++j) {
      Key key = 0;
      int mine = -1;
      for (int i = 0; i * kWarp + lane < experts; ++i) {
        if ((taken >> i & 1) != 0) continue;
        const Key other = detail::order_key(A(row[i * kWarp + lane]));
        if (mine < 0 || other > key) key = other, mine = i * kWarp + lane;
      }
      const int best = best_expert(key, mine);
      if (best % kWarp == lane) taken |= 1u << (best / kWarp);
    }
    int before = 0;
    for (int i = 0; i * kWarp < experts; ++i) {
      const bool mine = (taken >> i & 1) != 0;
      const unsigned all = __ballot_sync(kAllLanes, mine);
      if (mine) {
        chosen[t * k + before + __popc(all & ((1u << lane) - 1))] = i * kWarp + lane;
      }
      before += __popc(all);
    }
  });
}

// A token's softmax, over the chosen logits or over all; the same in every lane.
template <class T>
struct TokenSoftmax {
  using A = accumulator_t<T>;
  const T* row;
  A most, sum;

  __device__ __forceinline__ TokenSoftmax(const T* logits, int experts, const int32_t* chosen,
                                          int k, bool normalise)
      : row(logits) {
    const int lane = int(threadIdx.x) % kWarp, terms = normalise ? k : experts;
    const auto logit = [=](int i) { return A(logits[normalise ? chosen[i] : i]); };
    A high = logit(0), total = 0;
    for (int i = lane; i < terms; i += kWarp) high = logit(i) > high ? logit(i) : high;
    most = warp_max(high);
    for (int i = lane; i < terms; i += kWarp) total += detail::fast_exp(logit(i) - most);
    sum = warp_sum(total);
  }
  __device__ __forceinline__ A operator()(int expert) const {
    return detail::fast_exp(A(row[expert]) - most) / sum;
  }
};

template <class T>
__global__ void expert_weights_kernel(const T* logits, const int32_t* chosen, int64_t tokens,
                                      int experts, int k, bool normalise,
                                      accumulator_t<T>* weights) {
  for_tokens(tokens, [&](int64_t t) {
    const int32_t* of = chosen + t * k;
    const TokenSoftmax<T> softmax(logits + t * experts, experts, of, k, normalise);
    for (int j = int(threadIdx.x) % kWarp; j < k; j += kWarp) weights[t * k + j] = softmax(of[j]);
  });
}

template <class T>
__global__ void expert_weights_backward_kernel(const accumulator_t<T>* d_weights, const T* logits,
                                               const int32_t* chosen, int64_t tokens, int experts,
                                               int k, bool normalise, T* d_logits) {
  using A = accumulator_t<T>;
  const int lane = int(threadIdx.x) % kWarp;
  for_tokens(tokens, [&](int64_t t) {
    const int32_t* of = chosen + t * k;
    const A* g = d_weights + t * k;
    T* d = d_logits + t * experts;
    const TokenSoftmax<T> softmax(logits + t * experts, experts, of, k, normalise);
    A mean = 0;
    for (int j = lane; j < k; j += kWarp) mean += g[j] * softmax(of[j]);
    mean = warp_sum(mean);
    for (int e = lane; e < experts; e += kWarp) {
      detail::put(d[e], normalise ? A(0) : -softmax(e) * mean);
    }
    __syncwarp();
    for (int j = lane; j < k; j += kWarp) detail::put(d[of[j]], softmax(of[j]) * (g[j] - mean));
  });
}

}  // namespace

template <class T>
void choose_experts(const T* logits, int64_t tokens, int64_t experts, int64_t k, int32_t* chosen,
                    Stream stream) {
  launch("choose_experts", choose_experts_kernel<T>, shape_for(tokens), stream, logits, tokens,
         int(experts), int(k), chosen);
}
template <class T>
void expert_weights(const T* logits, const int32_t* chosen, int64_t tokens, int64_t experts,
                    int64_t k, bool normalise, accumulator_t<T>* weights, Stream stream) {
  launch("expert_weights", expert_weights_kernel<T>, shape_for(tokens), stream, logits, chosen,
         tokens, int(experts), int(k), normalise, weights);
}
template <class T>
void expert_weights_backward(const accumulator_t<T>* d_weights, const T* logits,
                             const int32_t* chosen, int64_t tokens, int64_t experts, int64_t k,
                             bool normalise, T* d_logits, Stream stream) {
  launch("expert_weights_backward", expert_weights_backward_kernel<T>, shape_for(tokens), stream,
         d_weights, logits, chosen, tokens, int(experts), int(k), normalise, d_logits);
}

#define ELASTRON_FOR(T)                                                                       \
  template void choose_experts<T>(const T*, int64_t, int64_t, int64_t, int32_t*, Stream);     \
  template void expert_weights<T>(const T*, const int32_t*, int64_t, int64_t, int64_t, bool,  \
                                  accumulator_t<T>*, Stream);                                 \
  template void expert_weights_backward<T>(const accumulator_t<T>*, const T*, const int32_t*, \
                                           int64_t, int64_t, int64_t, bool, T*, Stream);
ELASTRON_FOR(double)
ELASTRON_FOR(float)
ELASTRON_FOR(bf16)
#undef ELASTRON_FOR

}  // namespace elastron::ops::cuda
