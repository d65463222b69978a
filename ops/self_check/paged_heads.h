// Key-value caches of some sequences in pages of their own, for comparisons of back ends. The pages
// of a head do not stand in their order.
#pragma once
#include <span>
#include <vector>

#include "ops/backend.h"
#include "ops/kv_cache.h"

namespace elastron::ops::self_check {

struct PagedHeads {
  // rows [sequences * kv_heads]; room for `tokens` tokens of each sequence.
  PagedHeads(const PageShape& page, std::span<const CacheRows> rows, int64_t kv_heads,
             int64_t tokens, Device& device) {
    int64_t all = 0;
    std::vector<int64_t> pages;
    for (const CacheRows& r : rows) all += pages.emplace_back(ceil_div(r.count(tokens), page.rows));
    memory = Tensor::zeros({all, page.numbers()}, page.dtype, device);
    std::vector<void*> at;
    for (int64_t i = 0; i < all; ++i) {
      at.push_back(static_cast<char*>(memory.raw()) + (all - 1 - i) * page.bytes());
    }
    list = on_device(std::span<void* const>(at), device);
    layer = {.page = page, .sequences = int64_t(rows.size()) / kv_heads, .kv_heads = kv_heads};
    auto* first = static_cast<void* const*>(list.raw());
    std::vector<CachedHead> heads;
    for (size_t h = 0; h < rows.size(); ++h) {
      const CachedHead& head = heads.emplace_back(
          CachedHead{.rows = rows[h], .pages = first, .room = pages[h] * page.rows});
      layer.most_rows = std::max(layer.most_rows, head.room);
      layer.all_rows += double(head.room);
      first += pages[h];
    }
    layer.heads = on_device(std::span<const CachedHead>(heads), device);
  }

  Tensor memory, list;
  CachedLayer layer;
};

}  // namespace elastron::ops::self_check
