#include "core/cuda/host_copies.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <bit>
#include <exception>
#include <utility>

#include "core/cuda/status.h"

namespace elastron::cuda {

struct HostCopies::Block {
  explicit Block(size_t size) : bytes(size) {
    check(cudaMallocHost(&memory, bytes), "cudaMallocHost");
    check(cudaEventCreateWithFlags(&done, cudaEventDisableTiming), "cudaEventCreate");
  }
  ~Block() {
    // While unwinding the work may never end, and giving pinned memory back waits for it.
    if (std::uncaught_exceptions() > 0) return;
    if (done != nullptr) cudaEventDestroy(done);
    if (memory != nullptr) cudaFreeHost(memory);
  }
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;

  size_t bytes;
  void* memory = nullptr;
  cudaEvent_t done = nullptr;
};

class HostCopies::Copy final : public HostCopy {
 public:
  Copy(HostCopies& owner, std::unique_ptr<Block> block, size_t bytes)
      : owner_(owner), block_(std::move(block)), bytes_(bytes) {}
  ~Copy() override {
    if (std::uncaught_exceptions() > 0) return;
    if (!waited_) cudaEventSynchronize(block_->done);
    owner_.give_back(std::move(block_));
  }

  std::span<const std::byte> wait() override {
    if (!std::exchange(waited_, true)) {
      check(cudaEventSynchronize(block_->done), "wait for the GPU");
    }
    return {static_cast<const std::byte*>(block_->memory), bytes_};
  }

 private:
  HostCopies& owner_;
  std::unique_ptr<Block> block_;
  size_t bytes_;
  bool waited_ = false;
};

HostCopies::HostCopies() = default;
HostCopies::~HostCopies() = default;

std::unique_ptr<HostCopies::Block> HostCopies::take(size_t bytes) {
  {
    const std::lock_guard lock(mutex_);
    const auto found =
        std::ranges::find_if(free_, [&](const auto& b) { return b->bytes >= bytes; });
    if (found != free_.end()) {
      auto block = std::move(*found);
      free_.erase(found);
      return block;
    }
  }
  constexpr size_t kLeast = size_t(64) << 10;
  return std::make_unique<Block>(std::max(kLeast, std::bit_ceil(bytes)));
}

void HostCopies::give_back(std::unique_ptr<Block> block) {
  const std::lock_guard lock(mutex_);
  free_.push_back(std::move(block));
}

std::unique_ptr<HostCopy> HostCopies::begin(const void* src, size_t bytes, Stream stream) {
  auto block = take(bytes);
  if (bytes > 0) {
    check(cudaMemcpyAsync(block->memory, src, bytes, cudaMemcpyDeviceToHost, stream),
          "copy from the GPU");
  }
  check(cudaEventRecord(block->done, stream), "cudaEventRecord");
  return std::make_unique<Copy>(*this, std::move(block), bytes);
}

}  // namespace elastron::cuda
