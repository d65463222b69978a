// Products of so few rows that reading the weights is what takes the time: decoding. A weight is
// read once for all rows, and a row's results do not depend on how many others there are, bit for
// bit. For weights as stored (WeightForm). Grouped products, whose rows may be few in one company and
// many in another, are not made so.
#pragma once
#include "core/tensor.h"
#include "ops/cpu/linear.h"

namespace elastron::ops::cpu {

// Whether few_rows_forward() takes it: at most kRowsAlike rows (ops/linear.h), and a weight that lies
// as it is, of 16 or 32 bits or in e4m3 with scales.
bool few_rows_fit(const Tensor& x, const WeightView& w);

// As linear_forward(); sums in float32.
void few_rows_forward(const Tensor& x, const WeightView& w, const Tensor& bias, Tensor& y);

}  // namespace elastron::ops::cpu
