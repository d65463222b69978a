// CUDA back end of ops/routed_attention.h, for float and bf16, head_dim up to kMostHeadDim. There
// are plain kernels, in float32 arithmetic, which define what faster ones must give, and kernels on
// tensor cores for the bf16 inputs these take (kernel_choice.h).
// Gates are read on the device: nothing here waits for the host.
#pragma once
#include <string>

#include "core/cuda/stream.h"
#include "core/device.h"
#include "core/dtype.h"
#include "ops/attention/args.h"
#include "ops/attention/tile_plan.h"
#include "ops/cuda/attention/kernel_choice.h"

namespace elastron::ops::cuda {

using elastron::cuda::Stream;

// Where each sequence begins, on the device.
struct SequenceTiles {
  const int32_t* cu_seqlens = nullptr;  // [sequences + 1] tokens
  const int32_t* cu_keys = nullptr;     // [sequences + 1] keys; the last of each are its tokens
  // [sequences] Varlen::whole_length; null: each sequence ends with its last key.
  const int32_t* whole_lengths = nullptr;
};

// Of which (sequence, kv head): of all, or of those whose gate is closed, with nothing written for
// the others. A null gate means that all are closed.
enum class Pairs : uint8_t { all, closed };

// args.varlen is read on the host. args.visited is not written: count_visited_tiles() does that.
template <class T>
void routed_attention_forward(const AttentionForwardArgs& args, const SequenceTiles& tiles,
                              Pairs pairs, Device& device, Stream stream);
// Adds to args.visited what the selected branches of all pairs visit, whoever computes them.
void count_visited_tiles(const AttentionForwardArgs& args, const SequenceTiles& tiles,
                         Stream stream);
// The current device, as the choice of kernels asks for it.
AttentionDevice attention_device();
// The kernels for attention in `dtype` on the current device, in words.
std::string attention_kernels(DType dtype);
// Whether the current device is one that the fastest kernels are for, and this build lacks them.
bool lacks_fast_kernels();
// Row dots and the gate's gradient. gaps [tokens, q_heads] float: scratch for the latter; null
// without it.
template <class T>
void routed_attention_row_dots(const AttentionBackwardArgs& args, const SequenceTiles& tiles,
                               float* gaps, Stream stream);
// Which kernels give dq, dk and dv on the current device: of those that args.kernels allows.
AttentionKernels gradient_kernels(DType dtype, const AttentionBackwardArgs& args);
// dq, dk and dv from lse and the row dots.
template <class T>
void routed_attention_gradients(const AttentionBackwardArgs& args, const SequenceTiles& tiles,
                                Pairs pairs, Device& device, Stream stream);

}  // namespace elastron::ops::cuda
