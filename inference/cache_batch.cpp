#include "inference/cache_batch.h"

#include <algorithm>
#include <bit>

#include "core/error.h"
#include "ops/backend.h"

namespace elastron::inference {

ops::CachedLayer cached_layer(const ops::PageShape& page, const Tensor& on_device,
                              std::span<const ops::CachedHead> heads, int64_t kv_heads) {
  ops::CachedLayer layer{.page = page,
                         .heads = on_device,
                         .sequences = int64_t(heads.size()) / kv_heads,
                         .kv_heads = kv_heads};
  for (const ops::CachedHead& head : heads) {
    layer.most_rows = std::max(layer.most_rows, head.room);
    layer.all_rows += double(head.room);
  }
  return layer;
}

CacheBatch::CacheBatch(int64_t layers, int64_t kv_heads, int64_t slots, PagePool& pool,
                       parallel::Communicator* heads_over)
    : kv_heads_(kv_heads),
      slots_(slots),
      pool_(pool),
      heads_over_(heads_over),
      spare_page_(Tensor::zeros({pool.page().numbers()}, pool.page().dtype, pool.device())),
      heads_(size_t(layers * slots * kv_heads)),
      cached_(size_t(layers)) {
  void* const page[] = {spare_page_.raw()};
  spare_list_ = ops::on_device(std::span<void* const>(page), pool.device());
  table_ = Tensor::empty({layers, slots * kv_heads * int64_t(sizeof(ops::CachedHead))}, DType::u8,
                         pool.device());
  for (int64_t slot = 0; slot < slots; ++slot) place(slot, nullptr);
}

void CacheBatch::place(int64_t slot, const SequenceCache* sequence) {
  const ops::CachedHead nobody{
      .rows = {}, .pages = static_cast<void* const*>(spare_list_.raw()), .room = pool_.page().rows};
  for (size_t l = 0; l < cached_.size(); ++l) {
    const auto to = heads_.begin() + (int64_t(l) * slots_ + slot) * kv_heads_;
    if (sequence == nullptr) {
      std::fill(to, to + kv_heads_, nobody);
    } else {
      const auto& heads = sequence->heads(int64_t(l));
      ELASTRON_CHECK(int64_t(heads.size()) == kv_heads_, "a prompt that was not read");
      std::ranges::copy(heads, to);
    }
  }
  changed_ = true;
}

void CacheBatch::send() {
  if (!changed_) return;
  changed_ = false;
  pool_.device().copy_from_host(table_.raw(), heads_.data(),
                                heads_.size() * sizeof(ops::CachedHead));
  int64_t most = 0;
  for (const ops::CachedHead& head : heads_) most = std::max(most, head.room);
  most_rows_ = int64_t(std::bit_ceil(uint64_t(most)));
  const int64_t each = slots_ * kv_heads_;
  for (size_t l = 0; l < cached_.size(); ++l) {
    const auto begin = int64_t(l);
    cached_[l] =
        cached_layer(pool_.page(), table_.slice(0, begin, begin + 1),
                     std::span(heads_).subspan(size_t(begin * each), size_t(each)), kv_heads_);
    cached_[l].most_rows = most_rows_;
  }
}

}  // namespace elastron::inference
