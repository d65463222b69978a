// Kinds of our own attention kernels on a GPU (docs/attention-kernels.md).
#pragma once
#include <cstdint>

namespace elastron::ops {

// Fastest last. What a kind does not take goes to the one before it; `plain` takes all.
enum class AttentionKernels : uint8_t {
  plain,
  mma,     // tensor cores
  hopper,  // compute capability 9.x: wgmma and bulk tensor copies
};

}  // namespace elastron::ops
