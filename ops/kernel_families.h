// Families of GPU kernels for which there is a slower way, and those that a device must not use:
// what a check of its kernels found to be wrong there (ops/self_check/kernel_checks.h).
#pragma once
#include <cstdint>

#include "core/device.h"

namespace elastron::ops {

// What stands in for one is the next slower way: cuBLASLt's first choice for its fastest algorithm,
// a plain product for the library, mma for Hopper's kernels, plain kernels for mma, our own kernels
// for a library's attention.
enum class KernelFamily : uint8_t {
  tuned_products,
  library_products,
  mma_scores,  // XAttention's, on tensor cores
  mma_forward,
  mma_gradients,
  hopper_forward,
  hopper_gradients,
  library_forward,  // full attention
  library_gradients,
  mma_groups,  // products of rows in groups, on tensor cores
};

// A set of them.
class KernelFamilies {
 public:
  constexpr bool contains(KernelFamily f) const { return (bits_ >> unsigned(f) & 1) != 0; }
  constexpr void add(KernelFamily f) { bits_ |= 1u << unsigned(f); }
  constexpr bool operator==(const KernelFamilies&) const = default;

 private:
  uint32_t bits_ = 0;
};

// Of a device: Device::attached<ForbiddenKernels>(). None until a check says so.
struct ForbiddenKernels {
  KernelFamilies families;
};

inline bool is_forbidden(Device& device, KernelFamily family) {
  return device.attached<ForbiddenKernels>().families.contains(family);
}

}  // namespace elastron::ops
