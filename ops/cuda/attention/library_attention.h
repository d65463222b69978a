// Routed attention whose full attention is cuDNN's: bfloat16, head_dim a multiple of 8 up to 128.
// The sparse branch, the gate's gradient and the choice between the branches stay ours.
//
// Forward with both outputs: cuDNN does all heads, a pass of the sparse branch all heads again, and
// rows of closed pairs change places (the tiles of the sparse branch are computed twice). Elsewhere
// a call per kv head, with the sequences whose gate is open; the length of the others is 1, and our
// kernels write over what comes of that. No head is gathered, and the host does not learn the
// gates.
//
// Plans are for buckets of sizes (library_batch.h): dummies of one token write to rows behind those
// of the batch.
//
// On Hopper cuDNN's backward pass adds up dq in no fixed order: repeats differ in their last bits.
#pragma once
#include "core/device.h"
#include "core/dtype.h"
#include "ops/cuda/attention/routed_attention.h"

namespace elastron::ops::cuda {

// For pairs whose retrieval branch is full attention (kernel_choice.h: library_wanted). False, with
// nothing done, where cuDNN has no kernel. With both outputs both log-sum-exps are written.
// `selected` and `lse` have LibraryBatch::dummies rows behind their `rows`.
bool library_attention_forward(const AttentionForwardArgs& args, const SequenceTiles& tiles,
                               int64_t rows, Device& device, Stream stream);
// dq, dk and dv from lse; the row dots are there already.
bool library_attention_gradients(const AttentionBackwardArgs& args, const SequenceTiles& tiles,
                                 Device& device, Stream stream);

}  // namespace elastron::ops::cuda
