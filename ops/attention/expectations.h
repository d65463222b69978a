// The costs of attention depend on more than its shapes, on a meta device, where gates and chosen
// blocks have no values: Device::attached<AttentionExpectations>().
#pragma once
#include <cstdint>
#include <optional>

#include "ops/attention/attention_kernels.h"

namespace elastron::ops {

// Bytes that a library takes from the device, beside the op's own outputs, for one sequence;
// zeros where our kernels do the work.
struct AttentionWorkspace {
  int64_t forward = 0, backward = 0;
};

struct AttentionExpectations {
  double sparse_heads = 0;  // share of the heads whose gate selects the sparse branch
  double chosen = 0.35;     // share of the causal pairs that are in chosen blocks
  // Of a GPU: the fastest of our kernels that it has, its multiprocessors, and a library for full
  // attention, where there is one.
  AttentionKernels kernels = AttentionKernels::hopper;
  int64_t multiprocessors = 132;
  std::optional<AttentionWorkspace> library;
};

}  // namespace elastron::ops
