#include "ops/grouped_linear.h"

#include <algorithm>

#include "core/matrix_stack.h"
#include "core/trace.h"
#include "ops/backend.h"
#include "ops/converted_weights.h"
#include "ops/cpu/grouped_linear.h"
#include "ops/cuda/grouped_linear.h"
#include "ops/dequantise.h"

namespace elastron::ops {

GroupedWeight::GroupedWeight(Tensor weights, WeightForm form) : weights_(std::move(weights)) {
  ELASTRON_CHECK(weights_.rank() == 3, "weights of groups are [G, out, in]");
  check_contiguous(weights_, "weights of groups");
  if (weights_.device().behaves_as() != DeviceKind::cpu) return;
  for (int64_t g = 0; g < groups(); ++g) each_.emplace_back(matrix_of(weights_, g), form);
}

GroupedWeight::GroupedWeight(Tensor values, WeightScale scale)
    : weights_(std::move(values)), scale_(std::move(scale)) {
  ELASTRON_CHECK(weights_.rank() == 3, "weights of groups are [G, out, in]");
  check_contiguous(weights_, "weights of groups");
  check_scale(weights_, scale_);
  if (weights_.device().behaves_as() != DeviceKind::cpu) return;
  for (int64_t g = 0; g < groups(); ++g) {
    WeightScale own = scale_;
    own.values = matrix_of(scale_.values, g);
    each_.emplace_back(matrix_of(weights_, g), std::move(own));
  }
}

namespace {

// -> R.
int64_t check_groups(const Tensor& x, const GroupedWeight& weights, const RowGroups& groups,
                     int64_t width, const char* op) {
  ELASTRON_CHECK(
      x.rank() == 2 && x.size(1) == width,
      std::string(op) + ": x " + x.shape().str() + ", weights " + weights.tensor().shape().str());
  check_shape(groups.bounds, {weights.groups() + 1}, op);
  check_dense(op, x, weights.tensor(), groups.bounds);
  ELASTRON_CHECK(groups.bounds.dtype() == DType::i32, std::string(op) + ": bounds are int32");
  if (!groups.rows.defined()) return x.size(0);
  check_dense(op, x, groups.rows);
  ELASTRON_CHECK(groups.rows.rank() == 1 && groups.rows.dtype() == DType::i32,
                 std::string(op) + ": rows are [R] int32");
  return groups.rows.size(0);
}

// On a GPU: f(weights as they are multiplied, bounds), of all groups or, where they have to be
// converted, of as many at a time as may be.
template <class F>
void for_parts(const GroupedWeight& w, const RowGroups& groups, DType activations, const F& f) {
  const Tensor& all = w.tensor();
  if (all.dtype() == activations && !w.scale().defined()) return f(all, groups.bounds);
  const int64_t most = all.device().attached<ConvertedWeights>().most;
  const int64_t one = std::max<int64_t>(w.out_features() * w.in_features(), 1);
  const int64_t step = std::max<int64_t>(most / one, 1);
  for (int64_t begin = 0; begin < w.groups(); begin += step) {
    const int64_t end = std::min(begin + step, w.groups());
    WeightScale scale = w.scale();
    if (scale.defined()) scale.values = scale.values.slice(0, begin, end);
    f(dequantise(all.slice(0, begin, end), scale, activations),
      groups.bounds.slice(0, begin, end + 1));
  }
}

cpu::GroupedScratch scratch_for(const Tensor& x, const Tensor& y) {
  const TraceRange range("workspace");
  return {y.size(0), x.size(1), y.size(1), x.dtype(), x.device()};
}

// Weights of groups that have rows are read once, if it goes well.
void meta_products(MetaDevice& meta, const char* op, const Tensor& x, const Tensor& weights,
                   const Tensor& y, int64_t inner, bool accumulate) {
  const int64_t rows = y.size(0);
  const double groups = double(std::min(rows, weights.size(0)));
  meta.record({.name = op,
               .kind = WorkKind::products,
               .flops = 2 * double(y.numel()) * double(inner),
               .bytes = double(rows * inner) * double(dtype_size(x.dtype())) +
                        groups * double(weights.bytes()) / double(weights.size(0)) +
                        double(y.bytes()) * (accumulate ? 2 : 1)});
}

// Both directions: y [R, *] from x, by whichever back end.
template <class Cpu, class Cuda>
void products(const char* op, const Tensor& x, const GroupedWeight& w, const RowGroups& groups,
              Tensor& y, cpu::Product product, bool accumulate, const Cpu& on_cpu,
              const Cuda& on_cuda) {
  if (y.size(0) == 0) return;
  const int64_t inner = x.size(1);
  run_on(
      x.device(),
      [&] {
        auto scratch = scratch_for(x, y);
        on_cpu(scratch);
      },
      [&](auto stream) {
        for_parts(w, groups, x.dtype(), [&](const Tensor& weights, const Tensor& bounds) {
          on_cuda(weights, RowGroups{bounds, groups.rows}, stream);
        });
      },
      [&](MetaDevice& meta) {
        if (meta.behaves_as() == DeviceKind::cpu) {
          meta_products(meta, op, x, w.tensor(), y, inner, accumulate);
          const auto scratch = scratch_for(x, y);
          cpu::plan_packing(w, product, x.dtype());
          return;
        }
        for_parts(w, groups, x.dtype(), [&](const Tensor& weights, const Tensor&) {
          meta_products(meta, op, x, weights, y, inner, accumulate);
        });
      });
}

}  // namespace

Tensor grouped_linear_forward(const Tensor& x, const GroupedWeight& weights,
                              const RowGroups& groups) {
  const char* op = "grouped_linear";
  const int64_t rows = check_groups(x, weights, groups, weights.in_features(), op);
  Tensor y = Tensor::empty({rows, weights.out_features()}, x.dtype(), x.device());
  products(
      op, x, weights, groups, y, cpu::Product::forward, false,
      [&](auto& scratch) { cpu::grouped_linear_forward(x, weights, groups, scratch, y); },
      [&](const Tensor& w, const RowGroups& part, auto stream) {
        cuda::grouped_linear_forward(x, w, part, y, stream);
      });
  return y;
}

Tensor grouped_linear_dgrad(const Tensor& dy, const GroupedWeight& weights, const RowGroups& groups,
                            const Tensor& accumulate_into) {
  const char* op = "grouped_linear_dgrad";
  const int64_t rows = check_groups(dy, weights, groups, weights.out_features(), op);
  const bool accumulate = accumulate_into.defined();
  const Shape shape{rows, weights.in_features()};
  Tensor dx = accumulate ? accumulate_into : Tensor::empty(shape, dy.dtype(), dy.device());
  check_shape(dx, shape, op);
  check_dense(op, dy, dx);
  ELASTRON_CHECK(dx.dtype() == dy.dtype(), std::string(op) + ": a sum of another dtype");
  products(
      op, dy, weights, groups, dx, cpu::Product::dgrad, accumulate,
      [&](auto& scratch) {
        cpu::grouped_linear_dgrad(dy, weights, groups, accumulate, scratch, dx);
      },
      [&](const Tensor& w, const RowGroups& part, auto stream) {
        cuda::grouped_linear_dgrad(dy, w, part, accumulate, dx, stream);
      });
  return dx;
}

}  // namespace elastron::ops
