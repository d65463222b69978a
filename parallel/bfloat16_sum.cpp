#include "parallel/bfloat16_sum.h"

namespace elastron::parallel {

Bfloat16Sum::Bfloat16Sum(const Tensor& t, int ranks) : count((t.numel() + ranks - 1) / ranks) {
  const int64_t padded = count * ranks;
  whole = t.view({t.numel()});
  if (padded != t.numel()) {
    // Values behind the end are added up and never looked at.
    whole = Tensor::zeros({padded}, t.dtype(), t.device());
    whole.slice(0, 0, t.numel()).copy_from(t.view({t.numel()}));
  }
  parts = Tensor::empty({padded}, t.dtype(), t.device());
}

void Bfloat16Sum::bring_back(Tensor& t) const {
  if (whole.raw() == t.raw()) return;
  Tensor flat = t.view({t.numel()});
  flat.copy_from(whole.slice(0, 0, t.numel()));
}

Tensor parts_of_scattered(const Tensor& in) {
  return Tensor::empty({in.numel()}, in.dtype(), in.device());
}

}  // namespace elastron::parallel
