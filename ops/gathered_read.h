// What the host wants to read of a device, in one copy: tensors are put into one buffer by one
// kernel, and the host waits once, when it asks for the first of them. Until then nothing waits, so
// that work which was queued behind keeps the device busy.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/host_copy.h"
#include "core/tensor.h"

namespace elastron::ops {

// out [bytes] u8 = the bytes of `parts`, which are contiguous tensors of one device, each beginning
// at the next multiple of 8. At least one part.
Tensor gather_parts(std::span<const Tensor> parts);

class GatheredRead {
 public:
  GatheredRead() = default;
  // Queued on the device: the parts may go or change afterwards.
  explicit GatheredRead(std::span<const Tensor> parts);

  // A part's numbers, which live as long as this. T is its dtype. The first call waits.
  template <class T>
  std::span<const T> part(size_t i) {
    const Part& p = parts_.at(i);
    ELASTRON_CHECK(dtype_of<T> == p.dtype, "a part of another dtype");
    return {reinterpret_cast<const T*>(copy_->wait().data() + p.begin), size_t(p.count)};
  }
  // The same as double, of a part that holds float64 or float32.
  std::vector<double> doubles(size_t i);

 private:
  struct Part {
    DType dtype;
    int64_t count;
    size_t begin;
  };
  std::vector<Part> parts_;
  std::unique_ptr<HostCopy> copy_;
};

}  // namespace elastron::ops
