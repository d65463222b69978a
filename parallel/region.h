// Where a computation enters or leaves a group: forward and backward communication as conjugate
// pairs. Each function is the adjoint of the one beside it, dot(F x, y) == dot(x, F' y), where a
// tensor that all ranks hold alike counts once and a tensor of which each rank holds a part (of the
// elements, or of the sum) counts on every rank.
//
//   forward                                    backward
//   (use x on every rank)  nothing             sum_over_group      branches' gradients summed
//   sum_over_group         parts -> sum        (nothing)
//   own_slice              alike -> slices     gather_slices
//   gather_slices          slices -> alike     own_slice
//   gather_parts           slices -> copies    reduce_parts        each rank uses its copy
//   otherwise reduce_parts           parts -> slices     gather_parts
//
// All are the identity in a group of one. Blocking; contiguous results.
#pragma once
#include "core/tensor.h"
#include "parallel/communicator.h"

namespace elastron::parallel {

// x = sum of x over the ranks, in place.
void sum_over_group(Tensor& x, Communicator& group);

// This rank's part of dimension `dim` (0 or the last), which the group size must divide.
Tensor own_slice(const Tensor& x, int dim, const Communicator& group);
// The ranks' slices side by side along `dim` (0 or the last).
Tensor gather_slices(const Tensor& x, int dim, Communicator& group);

// Sequence parallelism, along dimension 0: every rank gets all rows [n * size, ...] of the slices
// [n, ...] ...
Tensor gather_parts(const Tensor& x, Communicator& group);
// ... and the rows' sum over the ranks goes back as slices.
Tensor reduce_parts(const Tensor& x, Communicator& group);

}  // namespace elastron::parallel
