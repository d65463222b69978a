#include "inference/head_cache.h"

#include <algorithm>

#include "core/error.h"

namespace elastron::inference {

HeadCache::HeadCache(int64_t layers, int64_t kv_heads, int64_t head_dim, int64_t max_tokens,
                     const ops::StreamingRule& rule, DType dtype, Device& device)
    : kv_heads_(kv_heads),
      head_dim_(head_dim),
      max_tokens_(max_tokens),
      rule_(rule),
      dtype_(dtype),
      device_(device),
      layers_(size_t(layers)) {}

// The sink, then the ring.
int64_t HeadCache::sparse_rows() const {
  return std::min(rule_.sink_tokens() + rule_.local_blocks * rule_.block, max_tokens_);
}

int64_t HeadCache::row_of(bool full, int64_t position, int64_t last) const {
  const int64_t sink = rule_.sink_tokens();
  if (full || position < sink) return position;
  if (position < rule_.local_begin(last)) return -1;
  return sink + (position - sink) % (rule_.local_blocks * rule_.block);
}

void HeadCache::show(Layer& layer, int64_t position) const {
  const int64_t sink = rule_.sink_tokens(), ring = rule_.local_blocks * rule_.block;
  const int64_t after = position - sink;  // positions beyond the sink, less one
  for (size_t h = 0; h < layer.heads.size(); ++h) {
    auto& visible = layer.heads[h].visible;
    if (layer.full[h] != 0 || after < ring) {
      visible = {{{0, position + 1}, {}, {}}};
      continue;
    }
    // The block that the position stands in has taken the place of the oldest one, whose rows
    // behind it are not seen any more.
    const int64_t row = after % ring, next_block = (row / rule_.block + 1) * rule_.block;
    visible = {{{0, sink}, {sink, sink + row + 1}, {sink + next_block, sink + ring}}};
  }
}

void HeadCache::fill(int64_t layer, const Tensor& k, const Tensor& v, const Tensor& gate) {
  const int64_t tokens = k.size(0);
  ELASTRON_CHECK(tokens >= 1 && tokens <= max_tokens_ && k.size(1) == kv_heads_,
                 "more tokens than the cache has room for");
  Layer& l = layers_[size_t(layer)];
  l.full = gate.to_vector<uint8_t>();
  if (keep_all_) std::ranges::fill(l.full, uint8_t(1));
  l.heads.clear();
  for (int64_t h = 0; h < kv_heads_; ++h) {
    const bool full = l.full[size_t(h)] != 0;
    const Shape shape{full ? max_tokens_ : sparse_rows(), head_dim_};
    ops::CachedHead& head = l.heads.emplace_back();
    for (auto [cache, source] : {std::pair{&head.k, &k}, {&head.v, &v}}) {
      *cache = Tensor::empty(shape, dtype_, device_);
      for (int64_t t = 0; t < tokens; ++t) {
        const int64_t row = row_of(full, t, tokens - 1);
        if (row < 0) continue;
        Tensor to = cache->slice(0, row, row + 1);
        to.copy_from(source->slice(0, t, t + 1).slice(1, h, h + 1).clone().view({1, head_dim_}));
      }
    }
  }
  show(l, tokens - 1);
}

void HeadCache::append(int64_t layer, int64_t position, const Tensor& k, const Tensor& v) {
  ELASTRON_CHECK(position < max_tokens_, "more tokens than the cache has room for");
  Layer& l = layers_[size_t(layer)];
  for (int64_t h = 0; h < kv_heads_; ++h) {
    ops::CachedHead& head = l.heads[size_t(h)];
    const int64_t row = row_of(l.full[size_t(h)] != 0, position, position);
    for (auto [cache, source] : {std::pair{&head.k, &k}, {&head.v, &v}}) {
      Tensor to = cache->slice(0, row, row + 1);
      to.copy_from(source->slice(1, h, h + 1).clone().view({1, head_dim_}));
    }
  }
  show(l, position);
}

int64_t HeadCache::bytes() const {
  int64_t sum = 0;
  for (const Layer& l : layers_) {
    for (const auto& head : l.heads) sum += int64_t(head.k.bytes() + head.v.bytes());
  }
  return sum;
}

int64_t HeadCache::full_bytes() const {
  return int64_t(layers_.size()) * kv_heads_ * max_tokens_ * head_dim_ * 2 *
         int64_t(dtype_size(dtype_));
}

}  // namespace elastron::inference
