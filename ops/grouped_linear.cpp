#include "ops/grouped_linear.h"

#include <algorithm>

#include "core/trace.h"
#include "ops/backend.h"
#include "ops/cpu/grouped_linear.h"
#include "ops/cuda/grouped_linear.h"

namespace elastron::ops {

namespace {

// -> R.
int64_t check_groups(const Tensor& x, const Tensor& weights, const RowGroups& groups, int64_t width,
                     const char* op) {
  ELASTRON_CHECK(x.rank() == 2 && weights.rank() == 3 && x.size(1) == width,
                 std::string(op) + ": x " + x.shape().str() + ", weights " + weights.shape().str());
  check_shape(groups.bounds, {weights.size(0) + 1}, op);
  check_dense(op, x, weights, groups.bounds);
  ELASTRON_CHECK(groups.bounds.dtype() == DType::i32, std::string(op) + ": bounds are int32");
  if (!groups.rows.defined()) return x.size(0);
  check_dense(op, x, groups.rows);
  ELASTRON_CHECK(groups.rows.rank() == 1 && groups.rows.dtype() == DType::i32,
                 std::string(op) + ": rows are [R] int32");
  return groups.rows.size(0);
}

void check_stored(const Tensor& x, const Tensor& weights, const char* op) {
  ELASTRON_CHECK(weights.dtype() == x.dtype(),
                 std::string(op) + ": on a GPU weights are stored in the activations' dtype");
}

cpu::GroupedScratch scratch_for(const Tensor& x, const Tensor& y) {
  const TraceRange range("workspace");
  return {y.size(0), x.size(1), y.size(1), x.dtype(), x.device()};
}

// Weights of groups that have rows are read once, if it goes well.
void meta_products(MetaDevice& meta, const char* op, const Tensor& x, const Tensor& weights,
                   const Tensor& y, int64_t inner, bool accumulate) {
  const int64_t rows = y.size(0);
  if (rows == 0) return;
  const double groups = double(std::min(rows, weights.size(0)));
  meta.record({.name = op,
               .kind = WorkKind::products,
               .flops = 2 * double(y.numel()) * double(inner),
               .bytes = double(rows * inner) * double(dtype_size(x.dtype())) +
                        groups * double(weights.bytes()) / double(weights.size(0)) +
                        double(y.bytes()) * (accumulate ? 2 : 1)});
  if (meta.behaves_as() == DeviceKind::cpu) scratch_for(x, y);
}

}  // namespace

Tensor grouped_linear_forward(const Tensor& x, const Tensor& weights, const RowGroups& groups) {
  const char* op = "grouped_linear";
  const int64_t rows = check_groups(x, weights, groups, weights.size(2), op);
  Tensor y = Tensor::empty({rows, weights.size(1)}, x.dtype(), x.device());
  run_on(
      x.device(),
      [&] {
        if (rows == 0) return;
        auto scratch = scratch_for(x, y);
        cpu::grouped_linear_forward(x, weights, groups, scratch, y);
      },
      [&](auto stream) {
        check_stored(x, weights, op);
        cuda::grouped_linear_forward(x, weights, groups, y, stream);
      },
      [&](MetaDevice& meta) { meta_products(meta, op, x, weights, y, weights.size(2), false); });
  return y;
}

Tensor grouped_linear_dgrad(const Tensor& dy, const Tensor& weights, const RowGroups& groups,
                            const Tensor& accumulate_into) {
  const char* op = "grouped_linear_dgrad";
  const int64_t rows = check_groups(dy, weights, groups, weights.size(1), op);
  const bool accumulate = accumulate_into.defined();
  const Shape shape{rows, weights.size(2)};
  Tensor dx = accumulate ? accumulate_into : Tensor::empty(shape, dy.dtype(), dy.device());
  check_shape(dx, shape, op);
  check_dense(op, dy, dx);
  ELASTRON_CHECK(dx.dtype() == dy.dtype(), std::string(op) + ": a sum of another dtype");
  run_on(
      dy.device(),
      [&] {
        if (rows == 0) return;
        auto scratch = scratch_for(dy, dx);
        cpu::grouped_linear_dgrad(dy, weights, groups, accumulate, scratch, dx);
      },
      [&](auto stream) {
        check_stored(dy, weights, op);
        cuda::grouped_linear_dgrad(dy, weights, groups, accumulate, dx, stream);
      },
      [&](MetaDevice& meta) {
        meta_products(meta, op, dy, weights, dx, weights.size(1), accumulate);
      });
  return dx;
}

}  // namespace elastron::ops
