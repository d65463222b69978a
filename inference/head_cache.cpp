#include "inference/head_cache.h"

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

void HeadCache::fill(int64_t layer, const Tensor& k, const Tensor& v, const Tensor& gate) {
  const int64_t tokens = k.size(0);
  ELASTRON_CHECK(tokens >= 1 && tokens <= max_tokens_ && k.size(1) == kv_heads_,
                 "more tokens than the cache has room for");
  const auto full = gate.to_vector<uint8_t>();
  std::vector<ops::CachedHead> heads;
  for (int64_t h = 0; h < kv_heads_; ++h) {
    const ops::CacheRows rows{.every_position = keep_all_ || full[size_t(h)] != 0, .rule = rule_};
    const Shape shape{rows.count(max_tokens_), head_dim_};
    heads.push_back(
        {Tensor::empty(shape, dtype_, device_), Tensor::empty(shape, dtype_, device_), rows});
  }
  layers_[size_t(layer)] = ops::CachedLayer(std::move(heads));
  append(layer, Tensor::zeros({1}, DType::i32, device_), k, v);
}

void HeadCache::append(int64_t layer, const Tensor& position, const Tensor& k, const Tensor& v) {
  ops::append_to_cache(k, v, position, layers_[size_t(layer)]);
}

int64_t HeadCache::bytes() const {
  int64_t sum = 0;
  for (const ops::CachedLayer& layer : layers_) {
    for (const auto& head : layer.heads()) sum += int64_t(head.k.bytes() + head.v.bytes());
  }
  return sum;
}

int64_t HeadCache::full_bytes() const {
  return int64_t(layers_.size()) * kv_heads_ * max_tokens_ * head_dim_ * 2 *
         int64_t(dtype_size(dtype_));
}

}  // namespace elastron::inference
