// What a decoder layer needs of the keys and values of the tokens so far, when it decodes one token
// after another. How they are kept is the business of who implements these (inference/).
#pragma once
#include <cstdint>

#include "ops/kv_cache.h"
#include "parallel/communicator.h"

namespace elastron::model {

// Of one sequence, which a forward pass reads.
class KvCache {
 public:
  virtual ~KvCache() = default;

  // k, v [T, K, D] of the rows that the forward pass has, keys after RoPE, K kv heads of this rank:
  // of positions 0 to T - 1 unless context ranks share the rows. gate [1, K] uint8, 1 = full
  // attention, which holds for the whole conversation.
  virtual void fill(int64_t layer, const Tensor& k, const Tensor& v, const Tensor& gate) = 0;
};

// Of the sequences that are decoded side by side.
class KvBatch {
 public:
  virtual ~KvBatch() = default;

  virtual const ops::CachedLayer& layer(int64_t layer) const = 0;
  // Ranks that decode the same tokens by the same weights, each of which has a part of the kv heads
  // here, in the ranks' order. Null: all heads are here.
  virtual parallel::Communicator* heads_over() const { return nullptr; }
};

}  // namespace elastron::model
