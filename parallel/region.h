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

// The way into the linears that are split over a tensor group, and out of them. Between them every
// rank has all rows, or with sequence parallelism a part of the rows each.
class TensorRegion {
 public:
  // Rows must divide over the group where they are `split`. The group must outlive it.
  TensorRegion(Communicator& group, bool split)
      : group_(&group), split_(split && group.size() > 1) {}

  bool split() const { return split_; }
  // Rows between linears -> all rows, the same on every rank.
  Tensor enter(const Tensor& rows) const { return split_ ? gather_parts(rows, *group_) : rows; }
  // All rows, of which every rank has a part of the sum -> their sum, as rows between linears. The
  // adjoint of enter().
  Tensor leave(Tensor parts) const {
    if (split_) return reduce_parts(parts, *group_);
    sum_over_group(parts, *group_);
    return parts;
  }
  // All rows, the same on every rank -> rows between linears.
  Tensor own(const Tensor& rows) const { return split_ ? own_slice(rows, 0, *group_) : rows; }

 private:
  Communicator* group_;
  bool split_;
};

}  // namespace elastron::parallel
