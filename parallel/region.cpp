#include "parallel/region.h"

#include <vector>

#include "ops/rows.h"

namespace elastron::parallel {

namespace {

int normalised(const Tensor& x, int dim) {
  const int d = dim < 0 ? dim + x.rank() : dim;
  ELASTRON_CHECK(d == 0 || d == x.rank() - 1, "slices lie along the first or the last dimension");
  return d;
}

Shape scaled(const Shape& shape, int dim, int64_t numerator, int64_t denominator) {
  Shape result = shape;
  ELASTRON_CHECK(shape[dim] * numerator % denominator == 0, "dimension " + std::to_string(dim) +
                                                                " of " + shape.str() +
                                                                " does not divide over the group");
  result.set(dim, shape[dim] * numerator / denominator);
  return result;
}

}  // namespace

void sum_over_group(Tensor& x, Communicator& group) {
  if (group.size() > 1) group.all_reduce(x, ReduceOp::sum).wait();
}

Tensor own_slice(const Tensor& x, int dim, const Communicator& group) {
  if (group.size() == 1) return x;
  const int d = normalised(x, dim);
  const int64_t part = scaled(x.shape(), d, 1, group.size())[d];
  return x.slice(d, group.rank() * part, (group.rank() + 1) * part).clone();
}

Tensor gather_slices(const Tensor& x, int dim, Communicator& group) {
  if (group.size() == 1) return x;
  const int d = normalised(x, dim);
  if (d == 0) return gather_parts(x, group);
  const int64_t part = x.size(d);
  const Shape rows{part == 0 ? 0 : x.numel() / part, part};
  const Tensor all = gather_parts(x.view({1, x.numel()}), group);  // [size, rows * part]
  Tensor y = Tensor::empty(scaled(x.shape(), d, group.size(), 1), x.dtype(), x.device());
  std::vector<Tensor> from, to;
  for (int r = 0; r < group.size(); ++r) {
    from.push_back(all.slice(0, r, r + 1).view(rows));
    to.push_back(y.view({rows[0], group.size() * part}).slice(1, r * part, (r + 1) * part));
  }
  ops::gather_rows(from, {}, to);
  return y;
}

Tensor gather_parts(const Tensor& x, Communicator& group) {
  if (group.size() == 1) return x;
  Tensor y = Tensor::empty(scaled(x.shape(), 0, group.size(), 1), x.dtype(), x.device());
  group.all_gather(x, y).wait();
  return y;
}

Tensor reduce_parts(const Tensor& x, Communicator& group) {
  if (group.size() == 1) return x;
  Tensor y = Tensor::empty(scaled(x.shape(), 0, 1, group.size()), x.dtype(), x.device());
  group.reduce_scatter(x, y).wait();
  return y;
}

}  // namespace elastron::parallel
