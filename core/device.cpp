#include "core/device.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "core/error.h"

namespace elastron {

namespace {
constexpr size_t kAlignment = 64;
constexpr size_t kLargePage = size_t(2) << 20;

// Large blocks lie on large pages where the system has them: a first touch of each 4 KiB page costs
// more than what is then written there (bench/README.md, Loading), and products miss fewer
// translations.
void* from_system(size_t size) {
  if (size < kLargePage) return std::aligned_alloc(kAlignment, size);
  void* block = std::aligned_alloc(kLargePage, size);
  // Advice: without large pages the block is as good, and slower.
  if (block != nullptr)
    static_cast<void>(madvise(block, size / kLargePage * kLargePage, MADV_HUGEPAGE));
  return block;
}

}  // namespace

void* Device::attached(std::type_index type, std::shared_ptr<void> (*make)()) {
  const std::lock_guard lock(attached_mutex_);
  std::shared_ptr<void>& object = attached_[type];
  if (!object) object = make();
  return object.get();
}

CpuDevice::~CpuDevice() {
  for (auto& [bytes, blocks] : cached_) {
    for (void* block : blocks) std::free(block);
  }
}

std::string CpuDevice::description() const {
  return "cpu, " + std::to_string(std::thread::hardware_concurrency()) + " hardware threads";
}

size_t CpuDevice::size_class(size_t bytes) {
  const size_t at_least = std::max<size_t>(bytes, kAlignment);
  // Eight classes per power of two.
  const size_t step = std::max<size_t>(kAlignment, std::bit_floor(at_least) / 8);
  return (at_least + step - 1) / step * step;
}

void* CpuDevice::allocate(size_t bytes) {
  const size_t size = size_class(bytes);
  const std::lock_guard lock(mutex_);
  void* block = nullptr;
  if (auto it = cached_.find(size); it != cached_.end() && !it->second.empty()) {
    block = it->second.back();
    it->second.pop_back();
  } else {
    block = from_system(size);
    if (block == nullptr) {
      // Cached blocks of other sizes may be all that is in the way.
      for (auto& [cached_size, blocks] : cached_) {
        for (void* b : blocks) std::free(b);
        statistics_.reserved_bytes -= static_cast<int64_t>(cached_size * blocks.size());
        blocks.clear();
      }
      block = from_system(size);
    }
    if (block == nullptr) {
      throw UsageError("out of memory: " + std::to_string(size) + " bytes asked, " +
                           std::to_string(statistics_.in_use_bytes) + " bytes held",
                       "device cpu", advice_when_full());
    }
    ++statistics_.system_allocations;
    statistics_.reserved_bytes += static_cast<int64_t>(size);
  }
  statistics_.in_use_bytes += static_cast<int64_t>(size);
  statistics_.peak_bytes = std::max(statistics_.peak_bytes, statistics_.in_use_bytes);
  return block;
}

void CpuDevice::release(void* block, size_t bytes) noexcept {
  const size_t size = size_class(bytes);
  const std::lock_guard lock(mutex_);
  cached_[size].push_back(block);
  statistics_.in_use_bytes -= static_cast<int64_t>(size);
}

void CpuDevice::copy_from_host(void* dst, const void* src, size_t bytes) {
  std::memcpy(dst, src, bytes);
}
void CpuDevice::copy_to_host(void* dst, const void* src, size_t bytes) {
  std::memcpy(dst, src, bytes);
}
void CpuDevice::copy(void* dst, const void* src, size_t bytes) { std::memcpy(dst, src, bytes); }
void CpuDevice::copy_rows(void* dst, size_t dst_stride, const void* src, size_t src_stride,
                          size_t row_bytes, size_t rows) {
  for (size_t i = 0; i < rows; ++i) {
    std::memcpy(static_cast<char*>(dst) + i * dst_stride,
                static_cast<const char*>(src) + i * src_stride, row_bytes);
  }
}
void CpuDevice::fill_zero(void* dst, size_t bytes) { std::memset(dst, 0, bytes); }

MemoryStatistics CpuDevice::memory() const {
  const std::lock_guard lock(mutex_);
  return statistics_;
}

void CpuDevice::reset_peak() {
  const std::lock_guard lock(mutex_);
  statistics_.peak_bytes = statistics_.in_use_bytes;
}

CpuDevice& host_device() {
  static auto* device = new CpuDevice();
  return *device;
}

}  // namespace elastron
