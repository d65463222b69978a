// The checks of attention (kernel_checks.h): routed attention by each kind of kernels, and the
// choice of blocks. Each gives what differs.
#pragma once
#include <optional>
#include <string>

#include "ops/self_check/kernel_checks.h"

namespace elastron::ops::self_check {

enum class Pass : uint8_t { forward, gradients };

// Who computes: kernels of ours up to `kernels`, or a library, which leaves the rest to the plain
// ones.
struct AttentionBy {
  AttentionKernels kernels = AttentionKernels::plain;
  bool library = false;
};

// The plain kernels against the CPU, the others against the plain ones. Sequences of odd lengths
// over several tiles, every gate, both branches and one. Gradients count on the plain forward pass.
std::string check_attention(const KernelUse& use, AttentionBy by, Pass pass, Device& gpu);

// The blocks of use.pattern: those of the plain kernels against the CPU's; with `mma` XAttention's
// scores on tensor cores against the plain ones.
std::string check_block_choice(const KernelUse& use, bool mma, Device& gpu);
// Whether there are such scores for this use.
bool has_mma_scores(const KernelUse& use);

// The fastest of our own kernels that the GPU has for this use.
AttentionKernels fastest_attention(const KernelUse& use, Pass pass, Device& gpu);

}  // namespace elastron::ops::self_check
