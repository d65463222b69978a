// The costs of attention depend on more than its shapes, on a meta device, where gates and chosen
// blocks have no values: Device::attached<AttentionExpectations>().
#pragma once
#include <cstdint>

#include "ops/attention/attention_kernels.h"

namespace elastron::ops {

// What a GPU has for attention.
struct AttentionMeans {
  AttentionKernels kernels = AttentionKernels::hopper;  // the fastest of our own
  int64_t multiprocessors = 132;
  // Passes of full attention that a library has kernels for, where it may be used.
  bool library_forward = false, library_backward = false;
};

struct AttentionExpectations {
  double sparse_heads = 0;  // share of the heads whose gate selects the sparse branch
  double chosen = 0.35;     // share of the causal pairs that are in chosen blocks
  AttentionMeans means;     // of a GPU
};

}  // namespace elastron::ops
