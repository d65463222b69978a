#include "inference/page_pool.h"

#include <algorithm>

#include "core/error.h"

namespace elastron::inference {

PagePool::PagePool(int64_t head_dim, DType dtype, const PoolOptions& options, Device& device)
    : page_{.rows = options.page_rows, .head_dim = head_dim, .dtype = dtype},
      options_(options),
      device_(device) {
  ELASTRON_CHECK(options.page_rows >= 1 && options.slab_pages >= 1, "a page has rows");
}

std::vector<void*> PagePool::take(int64_t pages) {
  ELASTRON_CHECK(pages <= free_pages(), "more pages than are free");
  const int64_t more = pages - int64_t(free_.size());
  if (more > 0) {
    const int64_t made = std::min(std::max(more, options_.slab_pages),
                                  options_.most_pages - used_ - int64_t(free_.size()));
    const Tensor& slab =
        slabs_.emplace_back(Tensor::empty({made, page_.numbers()}, page_.dtype, device_));
    // The first page comes first.
    for (int64_t i = made; i-- > 0;) {
      free_.push_back(static_cast<char*>(slab.raw()) + i * page_.bytes());
    }
    // What comes back is room that is there already.
    free_.reserve(size_t(used_) + free_.size());
  }
  std::vector<void*> taken;
  for (int64_t i = 0; i < pages; ++i) {
    taken.push_back(free_.back());
    free_.pop_back();
  }
  used_ += pages;
  return taken;
}

void PagePool::give_back(std::span<void* const> pages) noexcept {
  // The next who takes as many gets them in this order again, in which they lie side by side.
  free_.insert(free_.end(), pages.rbegin(), pages.rend());
  used_ -= int64_t(pages.size());
}

}  // namespace elastron::inference
