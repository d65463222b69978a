// Copies to the host that nobody waits for yet: each into a pinned block of its own, which is taken
// again when the copy is done with.
#pragma once
#include <cstddef>
#include <memory>
#include <mutex>
#include <vector>

#include "core/cuda/stream.h"
#include "core/host_copy.h"

namespace elastron::cuda {

// Attached to a device (Device::attached), which must outlive the copies.
class HostCopies {
 public:
  HostCopies();
  ~HostCopies();
  HostCopies(const HostCopies&) = delete;
  HostCopies& operator=(const HostCopies&) = delete;

  // On `stream`, of what lies at src when the work issued there before is done; what is issued
  // afterwards may change or release it.
  std::unique_ptr<HostCopy> begin(const void* src, size_t bytes, Stream stream);

 private:
  class Copy;
  struct Block;
  std::unique_ptr<Block> take(size_t bytes);
  void give_back(std::unique_ptr<Block> block);

  std::mutex mutex_;
  std::vector<std::unique_ptr<Block>> free_;
};

}  // namespace elastron::cuda
