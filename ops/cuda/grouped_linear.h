// CUDA back end of ops/grouped_linear.h: checked by the front; issued on `stream`, one kernel each.
//
// A block has a tile of rows of one group and of columns, and finds its group in the bounds on the
// device: the grid has as many tiles as there can be, R / tile + G. bfloat16 whose widths are
// multiples of 8 is multiplied on tensor cores (mma), the rest in plain loops.
#pragma once
#include "core/cuda/stream.h"
#include "ops/grouped_linear.h"

namespace elastron::ops::cuda {

void grouped_linear_forward(const Tensor& x, const Tensor& weights, const RowGroups& groups,
                            Tensor& y, elastron::cuda::Stream stream);
void grouped_linear_dgrad(const Tensor& dy, const Tensor& weights, const RowGroups& groups,
                          bool accumulate, Tensor& dx, elastron::cuda::Stream stream);

}  // namespace elastron::ops::cuda
