// Routed attention: per sequence and kv head a gate z chooses the retrieval branch (z = 1) or the
// sparse one (z = 0): O = z O_R + (1 - z) O_S (docs/method.md, Head mixing). Causal within each
// sequence. The pattern says which keys the branches read (ops/head_pattern.h; docs/method.md, Key
// sets).
//
// Where the keys of the sparse branch are a subset of the others, as those of any are of full
// attention, they are visited first, O_S is written, and the same running maximum, sum and
// accumulator go on over the remaining keys to O_R: two outputs for the price of one. Where they
// are not, both go on from the keys they share (docs/method.md, One pass). Backward runs
// only through the selected branch; of the other branch only the row dot with dO is needed
// (docs/method.md, Selected backward and Costs).
#pragma once
#include <optional>

#include "core/tensor.h"
#include "ops/attention/attention_kernels.h"
#include "ops/block_choice.h"
#include "ops/head_pattern.h"
#include "ops/varlen.h"

namespace elastron::ops {

struct RoutedAttentionInput {
  // Dims 1 and 2 contiguous, any token stride. One dtype (float64, float32, bfloat16).
  Tensor q;  // [tokens, q_heads, head_dim], after RoPE
  // [tokens, kv_heads, head_dim], or [keys, ...] with varlen.cu_keys; query head h reads kv head h
  // / (q_heads / kv_heads)
  Tensor k, v;
  Tensor gate;  // [sequences, kv_heads] uint8: 1 = the retrieval branch
  Varlen varlen;
  HeadPattern pattern;       // where blocks are chosen, parts of sequences are of whole ones
  double softmax_scale = 0;  // head_dim^-0.5
  // automatic: a library's for bfloat16 and sequences of 1024 keys or more.
  FullAttentionBy full_by = FullAttentionBy::automatic;
  // The fastest of our own kernels that may be used on a GPU: for tests and benchmarks.
  AttentionKernels kernels = AttentionKernels::hopper;
};

enum class Branches : uint8_t {
  selected,  // inference, pretraining, and the first forward under full recomputation
  both,      // training: dL/dz needs the other output too
};

struct RoutedAttentionOutput {
  Tensor selected;   // [tokens, q_heads, head_dim], contiguous
  Tensor other;      // the same for the branch that was not selected; undefined for `selected`
  Tensor lse;        // [tokens, q_heads] master dtype, of the selected branch, natural log
  Tensor lse_other;  // the same of the other branch; undefined for `selected`
  // The blocks that were chosen, for the backward pass; undefined where no set is of blocks. Of
  // both branches' heads, or of the selected ones that use them.
  BlockChoice choice;
  // [sequences, kv_heads] int64: different tiles of 64 x 64 (row, key) pairs that the selected
  // branch visits, a row being a token of a query head. dense_tiles() is what full attention
  // visits.
  Tensor visited;
};

// Tiles of one sequence and kv head under full attention, as RoutedAttentionOutput::visited counts.
// `keys` >= `tokens`: the tokens are the last of so many positions.
int64_t dense_tiles(const HeadPattern& pattern, int64_t group, int64_t tokens, int64_t keys);

RoutedAttentionOutput routed_attention_forward(const RoutedAttentionInput& in, Branches branches);

struct RoutedAttentionGradient {
  Tensor q, k, v;  // as the inputs, contiguous; undefined unless asked for
  Tensor gate;     // [sequences, kv_heads] master dtype: sum of <dO, O_FA - O_SA>; undefined unless
                   // asked for
};

// d_out [tokens, q_heads, head_dim]. `need_qkv` false computes only the gate's gradient (the lowest
// layer with a router has nothing trainable below). `need_gate` requires out.other.
RoutedAttentionGradient routed_attention_backward(const Tensor& d_out,
                                                  const RoutedAttentionInput& in,
                                                  const RoutedAttentionOutput& out, bool need_qkv,
                                                  bool need_gate);

}  // namespace elastron::ops
