// What a decoder layer needs of the keys and values of the tokens so far, when it decodes one token
// after another. How they are kept is the business of who implements it (inference/head_cache.h).
#pragma once
#include <cstdint>
#include <vector>

#include "ops/decode_attention.h"

namespace elastron::model {

class KvCache {
 public:
  virtual ~KvCache() = default;

  // Prefill of one sequence: k, v [T, K, D] of positions 0 to T - 1, keys after RoPE, K kv heads of
  // this rank; gate [1, K] uint8, 1 = full attention, which holds for the whole conversation.
  virtual void fill(int64_t layer, const Tensor& k, const Tensor& v, const Tensor& gate) = 0;
  // The next token: k, v [1, K, D]. All layers take a position before the next one begins.
  virtual void append(int64_t layer, int64_t position, const Tensor& k, const Tensor& v) = 0;
  // The keys that the token appended last sees in that layer, by kv head.
  virtual const std::vector<ops::CachedHead>& heads(int64_t layer) const = 0;
};

}  // namespace elastron::model
