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
  std::vector<bool> full;
  for (const uint8_t open : gate.to_vector<uint8_t>()) full.push_back(open != 0);
  take_pages(l, full);
  const Tensor first = Tensor::zeros({1}, DType::i32, pool_.device());
  ops::append_to_cache(
      k, v, first,
      cached_layer(pool_.page(),
                   ops::on_device(std::span<const ops::CachedHead>(l.heads), pool_.device()),
                   std::span(l.heads), shape_.kv_heads));
}

std::vector<int64_t> SequenceCache::take_pages(Layer& layer, const std::vector<bool>& full) {
  std::vector<int64_t> first;
  int64_t all = 0;
  for (const bool open : full) {
    const ops::CacheRows rows = shape_.rows(open);
    const int64_t pages = pool_.pages_of(rows.count(shape_.most_tokens));
    layer.heads.push_back({.rows = rows, .room = pages * pool_.page().rows});
    first.push_back(all);
    all += pages;
  }
  layer.pages = pool_.take(all);
  layer.list = ops::on_device(std::span<void* const>(layer.pages), pool_.device());
  auto* const list = static_cast<void* const*>(layer.list.raw());
  for (size_t h = 0; h < layer.heads.size(); ++h) layer.heads[h].pages = list + first[h];
  return first;
}

void SequenceCache::continue_from(const SequenceCache& other) {
  ELASTRON_CHECK(shape_.layers == other.shape_.layers && shape_.kv_heads == other.shape_.kv_heads &&
                     shape_.rule == other.shape_.rule && shape_.keep_all == other.shape_.keep_all &&
                     shape_.most_tokens >= other.shape_.most_tokens,
                 "a cache of another model or rule");
  for (size_t l = 0; l < layers_.size(); ++l) {
    const Layer& from = other.layers_[l];
    ELASTRON_CHECK(layers_[l].heads.empty() && !from.heads.empty(), "a layer is filled once");
    std::vector<bool> full;
    for (const ops::CachedHead& head : from.heads) full.push_back(head.rows.every_position);
    const auto first = take_pages(layers_[l], full);
    // A row is where it was: rows are added behind those that there are (ops/attention/cache_rows.h).
    size_t source = 0;
    for (size_t h = 0; h < from.heads.size(); ++h) {
      const auto pages = size_t(from.heads[h].room / pool_.page().rows);
      for (size_t i = 0; i < pages; ++i) {
        pool_.device().copy(layers_[l].pages[size_t(first[h]) + i], from.pages[source++],
                            size_t(pool_.page().bytes()));
      }
    }
  }
}

int64_t SequenceCache::pages() const {
  int64_t pages = 0;
  for (const Layer& layer : layers_) pages += int64_t(layer.pages.size());
  return pages;
}

int64_t SequenceCache::bytes() const { return pages() * pool_.page().bytes(); }

int64_t SequenceCache::full_bytes() const {
  return shape_.most_pages(pool_) * pool_.page().bytes();
}

}  // namespace elastron::inference
