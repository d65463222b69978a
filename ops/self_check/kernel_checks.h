// Checks of a GPU's kernels on small ragged cases, forward and backward, each of one family: the
// plain kernels against the CPU, the faster ones against the plain ones. Which there are follows
// from what a run will use. What a check finds is one line; how it is bounded in time, kept and
// acted upon is its caller's (launch/self_check/).
#pragma once
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/device.h"
#include "core/dtype.h"
#include "ops/attention/attention_kernels.h"
#include "ops/head_pattern.h"
#include "ops/kernel_families.h"

namespace elastron::ops {

// What a run asks of the kernels.
struct KernelUse {
  DType dtype = DType::f32;  // float32 or bfloat16
  int64_t head_dim = 128;
  int64_t group = 1;  // query heads that read a kv head
  HeadPattern pattern;
  FullAttentionBy full_by = FullAttentionBy::automatic;
  bool experts = false;  // a mixture of experts
  bool trains = false;   // backward passes, gates and an optimiser, else decoding
};

struct KernelCheck {
  // What is checked, with all that the result depends on beside GPU, driver and build: "attention
  // forward on tensor cores (mma), bfloat16, head_dim 128, 4 query heads per kv head".
  std::string name;
  // Not used where the check fails; none: plain kernels, for which nothing stands in.
  std::optional<KernelFamily> family;
  // -> what differs, in words; empty: nothing. Throws what the ops throw.
  std::function<std::string(Device& gpu)> run;
};

// In the order in which they are to run: a check counts on those before it. Empty on a CPU.
std::vector<KernelCheck> kernel_checks(const KernelUse& use, Device& gpu);

}  // namespace elastron::ops
