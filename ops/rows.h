// Rows of tensors by index: how rows are put in another order, some of them more than once, and
// their gradients summed on the way back.
//
// A row is what lies behind dim 0, contiguous; the rows of a tensor may lie any stride apart, so
// that some of the heads of [T, heads, D] are rows too. Tensors that go by the same index go in one
// kernel (up to 16 of them), such as keys and values, or the groups that heads were cut into: they
// have rows of one size and type, those that are read lie the same stride apart, and so do those
// that are written. Nothing that is written may be read by the same call.
//
// An index is [n] int32 on the device of the tensors, and made once for a batch. It is trusted:
// whoever makes it knows that the rows exist.
#pragma once
#include <vector>

#include "core/tensor.h"

namespace elastron::ops {

// Row i of to[p] = row index[i] of from[p]; zeros where that is negative. Without an index (an
// undefined tensor) row i. to[p] [n, ...]. Any dtype.
void gather_rows(const std::vector<Tensor>& from, const Tensor& index,
                 const std::vector<Tensor>& to);
// Of one tensor, as a new one: x [T, ...] -> [n, ...].
Tensor gather_rows(const Tensor& x, const Tensor& index);
// y[index[i]] = x[i]; the rows of `index` are distinct, negative ones are left out.
void scatter_rows(const Tensor& x, const Tensor& index, Tensor& y);
// y[index[i]] += x[i], the same. float64, float32 or bfloat16.
void add_rows(const Tensor& x, const Tensor& index, Tensor& y);

// The adjoint of a gather that takes rows more than once: row i is the sum over the rows
// rows[bounds[i]] .. rows[bounds[i + 1] - 1].
struct RowSums {
  Tensor bounds;  // [m + 1] int32, begins at 0, does not decrease
  Tensor rows;    // [n] int32
};

// Row i of to[p] [m, ...] = the sum of these rows of from[p], in that order, in float32 (float64 of
// float64), rounded once; zeros where there is none.
void sum_rows(const std::vector<Tensor>& from, const RowSums& sums, const std::vector<Tensor>& to);

}  // namespace elastron::ops
