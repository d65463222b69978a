// Keys and values of the tokens so far, per layer and kv head (docs/method.md, Decoding). A head
// that was routed to full attention keeps all of them; a head of streaming attention keeps the sink
// and a ring of the local window, so that its memory does not grow with the context.
#pragma once
#include <cstdint>
#include <vector>

#include "model/kv_cache.h"
#include "ops/attention/streaming_rule.h"

namespace elastron::inference {

class HeadCache final : public model::KvCache {
 public:
  // Room for `max_tokens` positions. K kv heads of this rank, D head_dim. `rule`: which keys a
  // streaming head sees; block 1 for exactly `local` tokens instead of whole blocks. fill() throws
  // LogicError where there is no room; who appends asks max_tokens().
  HeadCache(int64_t layers, int64_t kv_heads, int64_t head_dim, int64_t max_tokens,
            const ops::StreamingRule& rule, DType dtype, Device& device);

  // Streaming heads keep all keys too and read them all: a full cache, as the reference code
  // decodes. To be said before fill().
  void keep_all(bool all) { keep_all_ = all; }

  void fill(int64_t layer, const Tensor& k, const Tensor& v, const Tensor& gate) override;
  void append(int64_t layer, const Tensor& position, const Tensor& k, const Tensor& v) override;
  const ops::CachedLayer& layer(int64_t layer) const override { return layers_[size_t(layer)]; }

  int64_t max_tokens() const { return max_tokens_; }
  int64_t bytes() const;       // held
  int64_t full_bytes() const;  // if every head kept everything

 private:
  int64_t kv_heads_, head_dim_, max_tokens_;
  ops::StreamingRule rule_;
  bool keep_all_ = false;
  DType dtype_;
  Device& device_;
  std::vector<ops::CachedLayer> layers_;
};

}  // namespace elastron::inference
