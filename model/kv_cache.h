// What a decoder layer needs of the keys and values of the tokens so far, when it decodes one token
// after another. How they are kept is the business of who implements it (inference/head_cache.h).
#pragma once
#include <cstdint>

#include "ops/kv_cache.h"

namespace elastron::model {

class KvCache {
 public:
  virtual ~KvCache() = default;

  // Prefill of one sequence: k, v [T, K, D] of positions 0 to T - 1, keys after RoPE, K kv heads of
  // this rank; gate [1, K] uint8, 1 = full attention, which holds for the whole conversation.
  virtual void fill(int64_t layer, const Tensor& k, const Tensor& v, const Tensor& gate) = 0;
  // The next token, at `position` [1] int32: k, v [1, K, D].
  virtual void append(int64_t layer, const Tensor& position, const Tensor& k, const Tensor& v) = 0;
  // The keys and values of that layer.
  virtual const ops::CachedLayer& layer(int64_t layer) const = 0;
};

}  // namespace elastron::model
