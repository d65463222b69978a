// Kinds of attention kernels on a GPU (docs/attention-kernels.md).
#pragma once
#include <cstdint>

namespace elastron::ops {

// Our own kernels, fastest last. A problem that a kind does not take goes to the one before it;
// `plain` takes all.
enum class AttentionKernels : uint8_t {
  plain,
  mma,     // tensor cores
  hopper,  // compute capability 9.x: wgmma and bulk tensor copies
};

// Who computes full attention on a GPU. Elsewhere, and where a library has no kernel for the shape,
// it is our own kernels; these repeat bit for bit, a library's backward pass may not.
enum class FullAttentionBy : uint8_t { automatic, own, cudnn };

}  // namespace elastron::ops
