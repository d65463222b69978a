// Bytes on their way from a device to the host.
#pragma once
#include <cstddef>
#include <span>

namespace elastron {

class HostCopy {
 public:
  virtual ~HostCopy() = default;
  HostCopy(const HostCopy&) = delete;
  HostCopy& operator=(const HostCopy&) = delete;
  // Waits until they are there; they live as long as this.
  virtual std::span<const std::byte> wait() = 0;

 protected:
  HostCopy() = default;
};

}  // namespace elastron
