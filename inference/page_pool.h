// The memory of key-value caches, in pages that any head of any sequence can use. It grows by slabs
// up to a limit, and keeps what it has: what a sequence gives back waits for the next one.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "core/ceil_div.h"
#include "ops/kv_cache.h"

namespace elastron::inference {

struct PoolOptions {
  int64_t page_rows = 64;
  int64_t most_pages = INT64_MAX;  // at any time
  int64_t slab_pages = 1;          // allocated at once, at the least
};

class PagePool {
 public:
  // The device must outlive the pool, and the pool its pages.
  PagePool(int64_t head_dim, DType dtype, const PoolOptions& options, Device& device);

  const ops::PageShape& page() const { return page_; }
  Device& device() const { return device_; }
  // Pages that hold `rows` rows.
  int64_t pages_of(int64_t rows) const { return ceil_div(rows, page_.rows); }
  int64_t free_pages() const { return options_.most_pages - used_; }
  int64_t used_pages() const { return used_; }

  // Throws LogicError where fewer are free, UsageError where the device has no memory.
  std::vector<void*> take(int64_t pages);
  void give_back(std::span<void* const> pages) noexcept;

  PagePool(const PagePool&) = delete;
  PagePool& operator=(const PagePool&) = delete;

 private:
  ops::PageShape page_;
  PoolOptions options_;
  Device& device_;
  std::vector<Tensor> slabs_;
  std::vector<void*> free_;
  int64_t used_ = 0;
};

}  // namespace elastron::inference
