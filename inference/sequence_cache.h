// Keys and values of one sequence's tokens so far, per layer and kv head (docs/method.md,
// Decoding). A head that was routed to full attention keeps all of them; a head of streaming
// attention keeps the sink and a ring of the local window, so that its memory does not grow with
// the context.
#pragma once
#include <cstdint>
#include <vector>

#include "inference/page_pool.h"
#include "model/kv_cache.h"
#include "ops/attention/streaming_rule.h"

namespace elastron::inference {

struct CacheShape {
  int64_t layers = 0, kv_heads = 0;  // of this rank
  int64_t most_tokens = 0;           // of the sequence, to its end
  ops::StreamingRule rule;  // which keys a streaming head sees; block 1: exactly `local` tokens
  // Streaming heads keep all keys too and read them all: a full cache, as the reference code
  // decodes.
  bool keep_all = false;

  ops::CacheRows rows(bool full) const {
    return {.every_position = keep_all || full, .rule = rule};
  }
  // Pages that it takes where all heads are full: what must be free before a prompt is read.
  int64_t most_pages(const PagePool& pool) const {
    return layers * kv_heads * pool.pages_of(most_tokens);
  }
};

class SequenceCache final : public model::KvCache {
 public:
  // Takes pages when it is filled, and gives them back when it ends. The pool must outlive it.
  SequenceCache(const CacheShape& shape, PagePool& pool);
  ~SequenceCache() override;

  // Throws LogicError where the sequence is longer than the shape says.
  void fill(int64_t layer, const Tensor& k, const Tensor& v, const Tensor& gate) override;

  // Becomes what `other` is: its gates and its rows, which are copied, with room for more tokens. Of the
  // same rule and heads; not filled before. Throws as fill() does.
  void continue_from(const SequenceCache& other);

  const CacheShape& shape() const { return shape_; }
  // Of the kv heads; empty before fill().
  const std::vector<ops::CachedHead>& heads(int64_t layer) const {
    return layers_[size_t(layer)].heads;
  }
  int64_t pages() const;       // that it holds
  int64_t bytes() const;       // of these
  int64_t full_bytes() const;  // of the pages it would hold if all heads were full

  SequenceCache(const SequenceCache&) = delete;
  SequenceCache& operator=(const SequenceCache&) = delete;

 private:
  struct Layer {
    std::vector<void*> pages;
    Tensor list;  // the same for the device
    std::vector<ops::CachedHead> heads;
  };

  // Heads with pages for all of the sequence. -> the first page of each among those of the layer.
  std::vector<int64_t> take_pages(Layer& layer, const std::vector<bool>& full);

  CacheShape shape_;
  PagePool& pool_;
  std::vector<Layer> layers_;
};

}  // namespace elastron::inference
