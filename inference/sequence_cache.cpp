#include "inference/sequence_cache.h"

#include <span>

#include "core/error.h"
#include "inference/cache_batch.h"
#include "ops/backend.h"

namespace elastron::inference {

SequenceCache::SequenceCache(const CacheShape& shape, PagePool& pool)
    : shape_(shape), pool_(pool), layers_(size_t(shape.layers)) {}

SequenceCache::~SequenceCache() {
  for (const Layer& layer : layers_) pool_.give_back(layer.pages);
}

void SequenceCache::fill(int64_t layer, const Tensor& k, const Tensor& v, const Tensor& gate) {
  ELASTRON_CHECK(k.size(0) >= 1 && k.size(0) <= shape_.most_tokens && k.size(1) == shape_.kv_heads,
                 "more tokens than the cache has room for");
  Layer& l = layers_[size_t(layer)];
  ELASTRON_CHECK(l.heads.empty(), "a layer is filled once");
  std::vector<int64_t> pages;
  int64_t all = 0;
  for (const uint8_t full : gate.to_vector<uint8_t>()) {
    const ops::CacheRows rows = shape_.rows(full != 0);
    pages.push_back(pool_.pages_of(rows.count(shape_.most_tokens)));
    l.heads.push_back({.rows = rows, .room = pages.back() * pool_.page().rows});
    all += pages.back();
  }
  l.pages = pool_.take(all);
  l.list = ops::on_device(std::span<void* const>(l.pages), pool_.device());
  auto* list = static_cast<void* const*>(l.list.raw());
  for (size_t h = 0; h < l.heads.size(); ++h) {
    l.heads[h].pages = list;
    list += pages[h];
  }
  const Tensor first = Tensor::zeros({1}, DType::i32, pool_.device());
  ops::append_to_cache(
      k, v, first,
      cached_layer(pool_.page(),
                   ops::on_device(std::span<const ops::CachedHead>(l.heads), pool_.device()),
                   std::span(l.heads), shape_.kv_heads));
}

int64_t SequenceCache::bytes() const {
  int64_t pages = 0;
  for (const Layer& layer : layers_) pages += int64_t(layer.pages.size());
  return pages * pool_.page().bytes();
}

int64_t SequenceCache::full_bytes() const {
  return shape_.most_pages(pool_) * pool_.page().bytes();
}

}  // namespace elastron::inference
