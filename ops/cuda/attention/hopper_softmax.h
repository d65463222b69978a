// The running softmax of the forward pass on sm_90a, in the registers of a warpgroup. Device code.
#pragma once
#include "ops/cuda/attention/hopper_tiles.h"

namespace elastron::ops::cuda {

template <int kDim>
struct RunningSoftmax {
  float sums[kDim / 8][4];
  float most[2], total[2];  // total: of this thread's columns
};

// The softmax goes on over one tile: scores in, probabilities out; sums are to be multiplied by
// `keep`.
template <int kDim>
__device__ __forceinline__ void go_on(float (&s)[kHopperKeys / 8][4], float scale_log2,
                                      RunningSoftmax<kDim>& run, float (&keep)[2]) {
  // Both rows' maxima first: what a product is waited for after this can hide it all, and
  // exponentials begin while the other row's lanes still exchange theirs.
  float most[2] = {run.most[0], run.most[1]};
#pragma unroll
  for (int half = 0; half < 2; ++half) {
#pragma unroll
    for (int n = 0; n < kHopperKeys / 8; ++n) {
      most[half] = fmaxf(most[half], fmaxf(s[n][2 * half], s[n][2 * half + 1]));
    }
  }
#pragma unroll
  for (int half = 0; half < 2; ++half) most[half] = warp_max<4>(most[half]);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    // Before a row has seen a key its maximum is -inf, and so may all of the tile be.
    const float base = most[half] == kNever ? 0.0f : most[half] * scale_log2;
    keep[half] = fast_exp2(run.most[half] * scale_log2 - base);
    float total = 0;
#pragma unroll
    for (int n = 0; n < kHopperKeys / 8; ++n) {
#pragma unroll
      for (int i = 2 * half; i < 2 * half + 2; ++i) {
        s[n][i] = fast_exp2(s[n][i] * scale_log2 - base);
        total += s[n][i];
      }
    }
    run.total[half] = run.total[half] * keep[half] + total;
    run.most[half] = most[half];
  }
}

template <int kDim>
__device__ __forceinline__ void scale_sums(RunningSoftmax<kDim>& run, const float (&keep)[2]) {
#pragma unroll
  for (int n = 0; n < kDim / 8; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) run.sums[n][i] *= keep[i / 2];
  }
}

}  // namespace elastron::ops::cuda
