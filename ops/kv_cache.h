// Keys and values of the tokens so far, of the sequences that are decoded side by side
// (docs/method.md, Decoding): inference only. All heads of all layers and sequences take their rows
// from one pool of pages, so that what a finished sequence gives back fits any other. Where a token
// goes and what it sees is worked out where it is needed, from positions that are a tensor: a GPU
// can be told once what to do for every token.
#pragma once
#include <cstdint>

#include "core/tensor.h"
#include "ops/attention/cache_rows.h"

namespace elastron::ops {

// A page: keys after RoPE of some rows, and behind them as many values, [2, rows, head_dim].
struct PageShape {
  int64_t rows = 0, head_dim = 0;
  DType dtype = DType::f32;

  int64_t numbers() const { return 2 * rows * head_dim; }
  int64_t bytes() const { return numbers() * int64_t(dtype_size(dtype)); }
};

// The cache of one kv head of one sequence, as back ends read it. A head's row r is row
// r % page.rows of pages[r / page.rows].
struct CachedHead {
  CacheRows rows;
  void* const* pages = nullptr;  // the list and the pages are in the device's memory
  int64_t room = 0;              // rows that the pages have
};

// The kv heads of a layer, of several sequences. Who makes it owns the pages.
struct CachedLayer {
  PageShape page;
  Tensor heads;  // [sequences * kv_heads] CachedHead as bytes, on the device
  int64_t sequences = 0, kv_heads = 0;
  int64_t most_rows = 0;  // that any head has room for: how much work a GPU is given
  double all_rows = 0;    // of all heads: what a plan counts
};

// k, v [sequences * T, kv_heads, head_dim]: of each sequence T tokens, one sequence after the other.
// They become the newest from its position in `first` [sequences] int32 on, and each goes where its
// head keeps it, if it does. On a CPU throws LogicError where there is no room; on a GPU the caller
// sees to it.
void append_to_cache(const Tensor& k, const Tensor& v, const Tensor& first,
                     const CachedLayer& layer);

}  // namespace elastron::ops
