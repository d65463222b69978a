// The numbers of a weight that is stored in another dtype than it is multiplied in: for products on a
// GPU, whose library takes operands of one dtype.
#pragma once
#include "core/weight_scale.h"

namespace elastron::ops {

// values [out, in] times scale, in float32 (float64 where `dtype` is that) and rounded once to
// `dtype`: float64, float32 or bfloat16. Values with a scale are e4m3; others are cast. Or of a stack
// of weights [G, out, in], whose scale.values are [G, ...].
Tensor dequantise(const Tensor& values, const WeightScale& scale, DType dtype);
// Rows [r0, r1) and columns [c0, c1) of values with a scale -> [r1 - r0, c1 - c0].
struct WeightPart {
  int64_t r0, r1, c0, c1;
};
Tensor dequantise(const Tensor& values, const WeightScale& scale, const WeightPart& part,
                  DType dtype);

// As LinearWeight and GroupedWeight want a scale: of the values' shape, float32, on their device.
void check_scale(const Tensor& values, const WeightScale& scale);

}  // namespace elastron::ops
