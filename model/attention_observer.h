// Looks at what attention reads in the layers of a forward pass.
#pragma once
#include <cstdint>

#include "core/tensor.h"

namespace elastron::model {

class AttentionObserver {
 public:
  virtual ~AttentionObserver() = default;
  // q [T, Hq, D], k [T, K, D] after norm and RoPE, this rank's heads, in the layers' order.
  virtual void see(int64_t layer, const Tensor& q, const Tensor& k) = 0;
};

}  // namespace elastron::model
