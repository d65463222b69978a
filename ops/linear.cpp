#include "ops/linear.h"

#include <algorithm>

#include "core/dispatch.h"
#include "core/trace.h"
#include "ops/backend.h"
#include "ops/converted_weights.h"
#include "ops/cpu/column_sums.h"
#include "ops/cpu/few_rows.h"
#include "ops/cpu/linear.h"
#include "ops/cuda/matmul.h"
#include "ops/cuda/plain_matmul.h"
#include "ops/cuda/reductions.h"
#include "ops/dequantise.h"
#include "ops/kernel_families.h"

namespace elastron::ops {

LinearWeight::LinearWeight(Tensor weight, WeightForm form)
    : weight_(std::move(weight)), form_(form) {
  ELASTRON_CHECK(weight_.rank() == 2, "a linear weight is [out, in]");
  check_contiguous(weight_, "linear weight");
  // The GPU's library reads every layout at full speed.
  const Device& device = weight_.device();
  if (form == WeightForm::packed && device.behaves_as() == DeviceKind::cpu) {
    packed_ = std::make_unique<Packed>();
  }
}

LinearWeight::LinearWeight(Tensor values, WeightScale scale, WeightForm form)
    : LinearWeight(std::move(values), form) {
  check_scale(weight_, scale);
  scale_ = std::move(scale);
}
LinearWeight::LinearWeight() = default;
LinearWeight::~LinearWeight() = default;
LinearWeight::LinearWeight(LinearWeight&&) noexcept = default;
LinearWeight& LinearWeight::operator=(LinearWeight&&) noexcept = default;

namespace {

// cuBLASLt multiplies operands of one dtype: the weight itself, or its numbers in that of the
// activations.
Tensor as_multiplied(const LinearWeight& w, DType activations) {
  if (w.tensor().dtype() == activations && !w.scale().defined()) return w.tensor();
  return dequantise(w.tensor(), w.scale(), activations);
}

// Rows (dim 0) or columns of the weight that are converted at a time, in whole blocks.
int64_t converted_side(const LinearWeight& w, int dim) {
  const int64_t block = dim == 0 ? w.scale().out_block : w.scale().in_block;
  const int64_t other = std::max<int64_t>(w.tensor().size(1 - dim), 1);
  const int64_t most = w.tensor().device().attached<ConvertedWeights>().most;
  return std::max<int64_t>(most / other / block, 1) * block;
}

// f(weight as it is multiplied, begin, end): all of it, or rows (dim 0) or columns [begin, end).
// `whole`: it must not be cut.
template <class F>
void for_parts(const LinearWeight& w, DType activations, int dim, bool whole, const F& f) {
  const int64_t side = w.tensor().size(dim);
  const int64_t step = whole || !w.scale().defined() ? side : converted_side(w, dim);
  if (step >= side) return f(as_multiplied(w, activations), 0, side);
  for (int64_t begin = 0; begin < side; begin += step) {
    const int64_t end = std::min(begin + step, side);
    const WeightPart part = dim == 0 ? WeightPart{begin, end, 0, w.in_features()}
                                     : WeightPart{0, w.out_features(), begin, end};
    f(dequantise(w.tensor(), w.scale(), part, activations), begin, end);
  }
}

// On a GPU: whether its library may multiply, or the plain kernel has to.
bool by_library(Device& device) { return !is_forbidden(device, KernelFamily::library_products); }

// c from sums over `inner` products of a and b each. What is converted a few rows at a time is not
// counted.
void meta_product(MetaDevice& meta, const char* name, const Tensor& a, const Tensor& b,
                  const Tensor& c, int64_t inner) {
  if (a.numel() == 0 || b.numel() == 0) return;
  meta.record({.name = name,
               .kind = WorkKind::products,
               .flops = 2 * double(c.numel()) * double(inner),
               .bytes = double(a.bytes() + b.bytes() + c.bytes())});
  if (meta.behaves_as() == DeviceKind::cuda) {
    if (!by_library(meta)) return;
    const TraceRange range("workspace");
    Tensor::empty({cuda::kMatmulWorkspace}, DType::u8, meta);
  }
}

}  // namespace

Tensor linear_forward(const Tensor& x, const LinearWeight& w, const Tensor& bias) {
  ELASTRON_CHECK(x.rank() == 2 && x.size(1) == w.in_features(),
                 "linear: x " + x.shape().str() + ", weight " + w.tensor().shape().str());
  if (bias.defined()) {
    check_shape(bias, {w.out_features()}, "linear bias");
    ELASTRON_CHECK(bias.dtype() == x.dtype(), "linear: bias of another dtype");
  }
  check_dense("linear", x, w.tensor());
  Tensor y = Tensor::empty({x.size(0), w.out_features()}, x.dtype(), x.device());
  run_on(
      x.device(),
      [&] {
        const cpu::WeightView weight = cpu::view_of(w, cpu::Product::forward);
        if (w.form() == WeightForm::as_stored && cpu::few_rows_fit(x, weight)) {
          return cpu::few_rows_forward(x, weight, bias, y);
        }
        cpu::linear_forward(x, weight, bias, y);
      },
      [&](auto stream) {
        const bool library = by_library(x.device());
        for_parts(w, x.dtype(), 0, !library || bias.defined(),
                  [&](const Tensor& weight, int64_t begin, int64_t end) {
                    Tensor part = y.slice(1, begin, end);
                    if (library) return cuda::matmul_forward(x, weight, bias, part);
                    cuda::plain_matmul_forward(x, weight, bias, part, stream);
                  });
      },
      [&](MetaDevice& meta) {
        if (meta.behaves_as() != DeviceKind::cuda) {
          meta_product(meta, "linear", x, w.tensor(), y, w.in_features());
          if (x.numel() > 0) cpu::plan_packing(w, cpu::Product::forward, x.dtype());
          return;
        }
        for_parts(w, x.dtype(), 0, !by_library(meta) || bias.defined(),
                  [&](const Tensor& weight, int64_t begin, int64_t end) {
                    meta_product(meta, "linear", x, weight, y.slice(1, begin, end),
                                 w.in_features());
                  });
      });
  return y;
}

Tensor linear_dgrad(const Tensor& dy, const LinearWeight& w, const Tensor& accumulate_into) {
  ELASTRON_CHECK(dy.rank() == 2 && dy.size(1) == w.out_features(),
                 "linear_dgrad: dy " + dy.shape().str() + ", weight " + w.tensor().shape().str());
  check_dense("linear_dgrad", dy, w.tensor());
  Tensor dx = accumulate_into;
  if (dx.defined()) {
    check_shape(dx, {dy.size(0), w.in_features()}, "linear_dgrad");
    check_contiguous(dx, "linear_dgrad");
    ELASTRON_CHECK(dx.dtype() == dy.dtype(), "linear_dgrad: a sum of another dtype");
  } else {
    dx = Tensor::empty({dy.size(0), w.in_features()}, dy.dtype(), dy.device());
  }
  const bool accumulate = accumulate_into.defined();
  run_on(
      dy.device(),
      [&] { cpu::linear_dgrad(dy, cpu::view_of(w, cpu::Product::dgrad), accumulate, dx); },
      [&](auto stream) {
        const bool library = by_library(dy.device());
        for_parts(w, dy.dtype(), 1, !library,
                  [&](const Tensor& weight, int64_t begin, int64_t end) {
                    Tensor part = dx.slice(1, begin, end);
                    if (library) return cuda::matmul_dgrad(dy, weight, accumulate, part);
                    cuda::plain_matmul_dgrad(dy, weight, accumulate, part, stream);
                  });
      },
      [&](MetaDevice& meta) {
        if (meta.behaves_as() != DeviceKind::cuda) {
          meta_product(meta, "linear_dgrad", dy, w.tensor(), dx, w.out_features());
          if (dy.numel() > 0) cpu::plan_packing(w, cpu::Product::dgrad, dy.dtype());
          return;
        }
        for_parts(w, dy.dtype(), 1, !by_library(meta),
                  [&](const Tensor& weight, int64_t begin, int64_t end) {
                    meta_product(meta, "linear_dgrad", dy, weight, dx.slice(1, begin, end),
                                 w.out_features());
                  });
      });
  return dx;
}

void linear_wgrad(const Tensor& dy, const Tensor& x, Tensor& dw) {
  ELASTRON_CHECK(dy.rank() == 2 && x.rank() == 2 && dy.size(0) == x.size(0),
                 "linear_wgrad: dy " + dy.shape().str() + ", x " + x.shape().str());
  check_shape(dw, {dy.size(1), x.size(1)}, "linear_wgrad");
  ELASTRON_CHECK(dy.dtype() == x.dtype() && dw.dtype() == accumulator_dtype(x.dtype()),
                 "linear_wgrad: the gradient is in master dtype");
  check_dense("linear_wgrad", dy, x, dw);
  run_on(
      x.device(), [&] { cpu::linear_wgrad(dy, x, dw); },
      [&](auto stream) {
        if (by_library(x.device())) return cuda::matmul_wgrad(dy, x, dw);
        cuda::plain_matmul_wgrad(dy, x, dw, stream);
      },
      [&](MetaDevice& meta) { meta_product(meta, "linear_wgrad", dy, x, dw, x.size(0)); });
}

void linear_bias_grad(const Tensor& dy, Tensor& db) {
  ELASTRON_CHECK(dy.rank() == 2, "linear_bias_grad takes [tokens, out]");
  check_shape(db, {dy.size(1)}, "linear_bias_grad");
  ELASTRON_CHECK(db.dtype() == accumulator_dtype(dy.dtype()),
                 "linear_bias_grad: the gradient is in master dtype");
  check_dense("linear_bias_grad", dy, db);
  with_float_dtype(dy.dtype(), [&]<class T>() {
    using A = accumulator_t<T>;
    const T* first = dy.data<T>();
    const int64_t n = dy.size(1);
    const int64_t rows = dy.size(0);
    A* sums = db.data<A>();
    const auto scratch_numbers = [&] {
      return Tensor::empty({cuda::column_sums_scratch(rows, n)}, db.dtype(), dy.device());
    };
    run_on(
        dy.device(),
        [&] {
          cpu::add_column_sums(rows, n, sums,
                               [=](int64_t row, A* to) { cpu::add_row(first + row * n, to, n); });
        },
        [&](auto stream) {
          const Tensor scratch = scratch_numbers();
          cuda::add_column_sums(first, rows, n, scratch.data<A>(), sums, stream);
        },
        [&](MetaDevice& meta) {
          meta.record(cuda::column_sums_cost("bias_grad", double(dy.bytes()), rows, n));
          if (meta.behaves_as() == DeviceKind::cuda) scratch_numbers();
        });
  });
}

}  // namespace elastron::ops
