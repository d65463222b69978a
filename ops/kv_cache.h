// Keys and values of the tokens so far, of one sequence and layer (docs/method.md, Decoding):
// inference only. Where a token goes and what it sees is worked out where it is needed, from a
// position that is a tensor: a GPU can be told once what to do for every token.
#pragma once
#include <vector>

#include "core/tensor.h"
#include "ops/attention/cache_rows.h"

namespace elastron::ops {

// The cache of one kv head.
struct CachedHead {
  Tensor k, v;  // [rows, head_dim] contiguous, keys after RoPE
  CacheRows rows;
};

// The kv heads of a layer, all of one shape but for their rows.
class CachedLayer {
 public:
  CachedLayer() = default;
  explicit CachedLayer(std::vector<CachedHead> heads);

  const std::vector<CachedHead>& heads() const { return heads_; }
  // The same for a GPU's kernels, in its memory; undefined elsewhere.
  const Tensor& table() const { return table_; }

 private:
  std::vector<CachedHead> heads_;
  Tensor table_;
};

// k, v [T, kv_heads, head_dim] of the positions from `first` [1] int32 on become the newest: each
// goes where its head keeps it, if it does. On a CPU throws LogicError where there is no room; on a
// GPU the caller sees to it.
void append_to_cache(const Tensor& k, const Tensor& v, const Tensor& first,
                     const CachedLayer& layer);

}  // namespace elastron::ops
