// Products of rows in groups, each group with a weight of its own: the experts of a mixture. Rows of
// a group stand together (ops/expert_rows.h); y = x w[g]^T for the rows of group g. Weights are
// frozen: there is a gradient to the input only.
//
// A row's result does not depend on how many rows its group has, nor on other rows: bit for bit, on
// CPUs with AVX-512 and on GPUs (oneDNN's products for older CPUs sum small ones in another order).
// dtypes are as in ops/linear.h, and so is what becomes of a weight that is stored otherwise: on a
// GPU a few groups' weights at a time are converted. On a GPU the host does not know how many rows a
// group has and waits for nothing: a grid that is large enough for any division of the rows finds out
// on the device.
//
// R rows in all, G groups.
#pragma once
#include <vector>

#include "core/tensor.h"
#include "ops/linear.h"

namespace elastron::ops {

// The weights of the groups, which it keeps alive. Movable, not copyable.
class GroupedWeight {
 public:
  GroupedWeight() = default;
  // [G, out, in]. Packed ones are packed together on first use, whichever groups have rows then.
  GroupedWeight(Tensor weights, WeightForm form);
  // Quantised: scale.values [G, blocks of out, blocks of in], the rest of it is every group's.
  GroupedWeight(Tensor values, WeightScale scale);

  const Tensor& tensor() const { return weights_; }
  const WeightScale& scale() const { return scale_; }  // undefined unless quantised
  int64_t groups() const { return weights_.size(0); }
  int64_t out_features() const { return weights_.size(1); }
  int64_t in_features() const { return weights_.size(2); }
  // On a CPU; elsewhere they are used together.
  const LinearWeight& of(int64_t group) const { return each_[size_t(group)]; }

 private:
  Tensor weights_;
  WeightScale scale_;
  std::vector<LinearWeight> each_;
};

// Where the groups' rows are: bounds [G + 1] int32, from 0 to R, do not decrease. `rows` [R] int32:
// row i is row rows[i] of the input; undefined: row i.
struct RowGroups {
  Tensor bounds, rows;
};

// x [*, in] -> [R, out], in x's dtype.
Tensor grouped_linear_forward(const Tensor& x, const GroupedWeight& weights,
                              const RowGroups& groups);

// dy [*, out] -> [R, in], the gradient to each row's input, in dy's dtype. With `accumulate_into`
// defined ([R, in]) it is added to that, which is returned.
Tensor grouped_linear_dgrad(const Tensor& dy, const GroupedWeight& weights, const RowGroups& groups,
                            const Tensor& accumulate_into = {});

}  // namespace elastron::ops
