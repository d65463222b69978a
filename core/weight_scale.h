// The scales of a quantised weight [out, in]: one number per block of out_block x in_block values,
// as published FP8 folders store them (weight_scale_inv; blocks of 128 x 128), or one per row
// (blocks of 1 x in). The weight is values times scale.
#pragma once
#include "core/ceil_div.h"
#include "core/tensor.h"

namespace elastron {

struct WeightScale {
  Tensor values;  // [ceil(out / out_block), ceil(in / in_block)] float32; undefined: all are 1
  int64_t out_block = 1, in_block = 1;

  bool defined() const { return values.defined(); }
  // Of `values`, for a weight of this shape.
  static Shape shape(int64_t out, int64_t in, int64_t out_block, int64_t in_block) {
    return {ceil_div(out, out_block), ceil_div(in, in_block)};
  }
};

}  // namespace elastron
