// Products of rows in groups, each group with a weight of its own: the experts of a mixture. Rows of
// a group stand together (ops/expert_rows.h); y = x w[g]^T for the rows of group g. Weights are
// frozen: there is a gradient to the input only.
//
// A row's result does not depend on how many rows its group has, nor on other rows: bit for bit, on
// CPUs with AVX-512 and on GPUs (oneDNN's products for older CPUs sum small ones in another order).
// dtypes are as in ops/linear.h: weights may be stored in another one than the activations' on a CPU,
// not on a GPU. On a GPU the host does not know how many rows a group has and waits for nothing: a
// grid that is large enough for any division of the rows finds out on the device.
//
// R rows in all, G groups.
#pragma once
#include "core/tensor.h"

namespace elastron::ops {

// Where the groups' rows are: bounds [G + 1] int32, from 0 to R, do not decrease. `rows` [R] int32:
// row i is row rows[i] of the input; undefined: row i.
struct RowGroups {
  Tensor bounds, rows;
};

// x [*, in], weights [G, out, in] -> [R, out], in x's dtype.
Tensor grouped_linear_forward(const Tensor& x, const Tensor& weights, const RowGroups& groups);

// dy [*, out] -> [R, in], the gradient to each row's input, in dy's dtype. With `accumulate_into`
// defined ([R, in]) it is added to that, which is returned.
Tensor grouped_linear_dgrad(const Tensor& dy, const Tensor& weights, const RowGroups& groups,
                            const Tensor& accumulate_into = {});

}  // namespace elastron::ops
