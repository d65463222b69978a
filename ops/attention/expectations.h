// The costs of attention depend on more than its shapes, on a meta device, where gates and chosen
// blocks have no values: Device::attached<AttentionExpectations>().
#pragma once
#include <cstdint>

#include "ops/attention/attention_kernels.h"

namespace elastron::ops {

struct AttentionExpectations {
  double sparse_heads = 0;  // share of the heads whose gate selects the sparse branch
  double chosen = 0.35;     // share of the causal pairs that are in chosen blocks
  // Of a GPU: the fastest of our kernels that it has, its multiprocessors, and whether it has a
  // library for full attention.
  AttentionKernels kernels = AttentionKernels::hopper;
  int64_t multiprocessors = 132;
  bool library = false;
};

}  // namespace elastron::ops
