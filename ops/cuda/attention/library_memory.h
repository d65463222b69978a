// What a library's calls take from the device beside the op's own outputs: the same on a device that
// computes and on one that plans.
#pragma once
#include <algorithm>

#include "core/tensor.h"
#include "ops/attention/args.h"
#include "ops/cuda/attention/full_attention.h"
#include "ops/cuda/attention/library_batch.h"

namespace elastron::ops::cuda {

// Of a call for `kv_heads` of the problem's heads.
inline FullAttentionShape library_shape(const AttentionArgs& args, const LibraryBatch& batch,
                                        int64_t kv_heads) {
  const AttentionShape& whole = args.shape;
  return {.sequences = batch.sequences,
          .longest = batch.longest,
          .longest_keys = batch.longest_keys,
          .q_heads = kv_heads * whole.group(),
          .kv_heads = kv_heads,
          .head_dim = whole.head_dim,
          .scale = args.scale,
          .q_stride = args.q.token_stride,
          .k_stride = args.k.token_stride,
          .v_stride = args.v.token_stride,
          .out_stride = whole.q_heads * whole.head_dim,
          .lse_stride = kv_heads * whole.group()};
}
inline FullAttentionShape library_gradient_shape(const AttentionBackwardArgs& args,
                                                 const LibraryBatch& batch) {
  FullAttentionShape shape = library_shape(args, batch, 1);
  shape.backward = true;
  shape.tokens = batch.tokens;
  shape.keys = batch.keys;
  shape.d_out_stride = args.d_out.token_stride;
  return shape;
}

// Of calls for one kv head after the other; rows of dummies are behind the others.
struct LibraryMemory {
  Tensor workspace;
  Tensor lengths;     // LengthParts of each kv head: [parts][kv_heads][sequences]
  Tensor lse;         // [rows, query heads of one]
  Tensor dq, dk, dv;  // backward
};

inline int64_t length_parts(const LibraryBatch& batch) { return batch.longest_keys > 0 ? 2 : 1; }

inline Tensor library_workspace(int64_t bytes, Device& device) {
  return Tensor::empty({std::max<int64_t>(bytes, 1)}, DType::u8, device);
}

inline LibraryMemory library_memory(const AttentionArgs& args, const LibraryBatch& batch,
                                    int64_t rows, int64_t workspace_bytes, Device& device) {
  return {.workspace = library_workspace(workspace_bytes, device),
          .lengths = Tensor::empty({length_parts(batch), args.shape.kv_heads, batch.sequences},
                                   DType::i32, device),
          .lse = Tensor::empty({rows + batch.dummies, args.shape.group()}, DType::f32, device),
          .dq = {},
          .dk = {},
          .dv = {}};
}
inline LibraryMemory library_gradient_memory(const AttentionBackwardArgs& args,
                                             const LibraryBatch& batch, int64_t workspace_bytes,
                                             Device& device) {
  const int64_t tokens = args.varlen.tokens(), dim = args.shape.head_dim;
  const int64_t keys = args.varlen.keys() + batch.dummies;
  LibraryMemory memory = library_memory(args, batch, tokens, workspace_bytes, device);
  memory.dq =
      Tensor::empty({tokens + batch.dummies, args.shape.group() * dim}, DType::bf16, device);
  memory.dk = Tensor::empty({keys, dim}, DType::bf16, device);
  memory.dv = Tensor::empty({keys, dim}, DType::bf16, device);
  return memory;
}

}  // namespace elastron::ops::cuda
