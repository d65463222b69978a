// What runs ask of a GPU's kernels, for tests of their checks.
#pragma once
#include <vector>

#include "ops/self_check/kernel_checks.h"
#include "tests/ops/cuda/both_devices.h"

namespace elastron::test {

inline ops::KernelUse training(DType dtype, int64_t head_dim, int64_t group,
                               const ops::HeadPattern& pattern) {
  return {.dtype = dtype,
          .head_dim = head_dim,
          .group = group,
          .pattern = pattern,
          .full_by = ops::FullAttentionBy::own,
          .trains = true};
}

inline std::vector<ops::HeadPattern> patterns_with_blocks() {
  using ops::KeySet;
  const KeySet by_mass = KeySet::blocks(ops::XAttentionRule{.stride = 16, .block = 128});
  const KeySet of_the_top =
      KeySet::blocks(ops::TopkRule{.block = 64, .blocks = 2, .sink_blocks = 0});
  const KeySet streaming = KeySet::streaming({});
  return {{.retrieval = KeySet::full(), .sparse = by_mass},
          {.retrieval = by_mass, .sparse = streaming},
          {.retrieval = KeySet::full(), .sparse = of_the_top},
          {.retrieval = of_the_top, .sparse = streaming}};
}

}  // namespace elastron::test
