// The scales of a quantised weight [out, in]: one number per block of out_block x in_block values,
// as published FP8 folders store them (weight_scale_inv; blocks of 128 x 128), or one per row
// (blocks of 1 x in).
#pragma once
#include "core/tensor.h"

namespace elastron::ops {

struct WeightScale {
  Tensor values;  // [ceil(out / out_block), ceil(in / in_block)] float32; undefined: all are 1
  int64_t out_block = 1, in_block = 1;

  bool defined() const { return values.defined(); }
};

}  // namespace elastron::ops
