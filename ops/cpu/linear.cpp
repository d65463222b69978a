#include "ops/cpu/linear.h"

#include <algorithm>

#include "core/dispatch.h"
#include "core/trace.h"
#include "ops/cpu/dequantise.h"
#include "ops/cpu/elementwise.h"
#include "ops/cpu/parallel_for.h"

namespace elastron::ops::cpu {

namespace {

// Converted operands exist for that many rows of tokens, and that many weights, at a time: enough
// for the library to be fast, and a few MB of memory however large the layer is.
constexpr int64_t kRows = 1024;
// Rows that are multiplied as they are: the more, the less often a weight is converted.
constexpr int64_t kRowsAsTheyAre = 8192;
constexpr int64_t kWeights = int64_t(1) << 20;

// f(begin, end) over [0, count) in steps.
template <class F>
void in_steps(int64_t count, int64_t step, const F& f) {
  for (int64_t begin = 0; begin < count; begin += step) f(begin, std::min(begin + step, count));
}

int64_t rows_step(const Tensor& x, DType product) {
  return x.dtype() == product ? kRowsAsTheyAre : kRows;
}

int64_t weights_step(int64_t other_side) {
  return std::max<int64_t>(kWeights / std::max<int64_t>(other_side, 1), 1);
}

// A matrix in a larger one: rows of `width` elements that lie `stride` apart.
template <class T>
struct Window {
  T* first;
  int64_t stride, width;
  T* row(int64_t r) const { return first + r * stride; }
};
template <class T>
Window<T> window(const Tensor& t, int64_t row, int64_t column, int64_t width) {
  return {t.data<T>() + row * t.size(1) + column, t.size(1), width};
}

template <class From, class To>
void add_range(const From* x, To* y, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i)
    detail::put(y[i], accumulator_t<To>(y[i]) + accumulator_t<To>(x[i]));
}

// Rows [r0, r1) and columns [c0, c1) of x, in `dtype`: x itself where that is a part of it.
Tensor part_of(const Tensor& x, int64_t r0, int64_t r1, int64_t c0, int64_t c1, DType dtype) {
  const int64_t width = c1 - c0;
  if (x.dtype() == dtype && width == x.size(1)) return x.slice(0, r0, r1);
  Tensor part = Tensor::empty({r1 - r0, width}, dtype, x.device());
  with_stored_dtype(x.dtype(), [&]<class From>() {
    with_float_dtype(dtype, [&]<class To>() {
      const auto from = window<From>(x, r0, c0, width);
      const auto to = window<To>(part, 0, 0, width);
      parallel_rows(r1 - r0, width, [&](int64_t r) { cast_range(from.row(r), to.row(r), width); });
    });
  });
  return part;
}

// The same part of a weight, with its scale.
Tensor part_of(const WeightView& w, int64_t r0, int64_t r1, int64_t c0, int64_t c1, DType dtype) {
  if (!w.scale.defined()) return part_of(w.values, r0, r1, c0, c1, dtype);
  const detail::ScaleView scale(w.scale);
  if (w.values.dtype() == DType::e4m3) {
    Tensor part = Tensor::empty({r1 - r0, c1 - c0}, dtype, w.values.device());
    with_float_dtype(dtype, [&]<class To>() {
      const auto from = window<e4m3>(w.values, r0, 0, w.values.size(1));
      const auto to = window<To>(part, 0, 0, c1 - c0);
      parallel_rows(r1 - r0, c1 - c0, [&](int64_t r) {
        dequantise_row(from.row(r), scale, r0 + r, c0, c1, to.row(r));
      });
    });
    return part;
  }
  // Scaled in the dtype of sums and rounded once.
  Tensor part = part_of(w.values, r0, r1, c0, c1, accumulator_dtype(dtype));
  if (part.raw() == w.values.slice(0, r0, r1).raw()) part = part.clone();
  with_master_dtype(part.dtype(), [&]<class A>() {
    const auto to = window<A>(part, 0, 0, c1 - c0);
    parallel_rows(r1 - r0, c1 - c0, [&](int64_t r) {
      const float* scales = scale.row(r0 + r);
      for (int64_t c = c0; c < c1;) {
        const int64_t end = std::min(scale.end_of(c), c1);
        scale_range(to.row(r) + (c - c0), A(scales[scale.block_of(c)]), end - c);
        c = end;
      }
    });
  });
  return part.dtype() == dtype ? part : part_of(part, 0, r1 - r0, 0, c1 - c0, dtype);
}

// y[r0 .., c0 ..] = part, or += part; rounded once.
void put_part(const Tensor& part, Tensor& y, int64_t r0, int64_t c0, bool accumulate) {
  const int64_t width = part.size(1);
  with_float_dtype(part.dtype(), [&]<class From>() {
    with_float_dtype(y.dtype(), [&]<class To>() {
      const auto from = window<From>(part, 0, 0, width);
      const auto to = window<To>(y, r0, c0, width);
      parallel_rows(part.size(0), width, [&](int64_t r) {
        if (accumulate) {
          add_range(from.row(r), to.row(r), width);
        } else {
          cast_range(from.row(r), to.row(r), width);
        }
      });
    });
  });
}

// Whether the operands are multiplied as they are.
bool direct(const Tensor& x, const WeightView& w, DType product) {
  return x.dtype() == product && w.values.dtype() == product && !w.scale.defined();
}

}  // namespace

DType product_dtype(DType dtype, Device& device) {
  return has_products(dtype, device) ? dtype : DType::f32;
}

void plan_packing(const LinearWeight& w, Product product, DType activations) {
  const WeightView view = view_of(w, product);
  if (view.packed == nullptr || view.packed->bytes.defined()) return;
  if (!is_packed(activations, view.values)) return;
  const TraceRange range("packed weights");
  view.packed->bytes =
      Tensor::empty({packed_bytes(product, view.values)}, DType::u8, view.values.device());
}

void linear_forward(const Tensor& x, const WeightView& w, const Tensor& bias, Tensor& y) {
  const DType product = product_dtype(x.dtype(), x.device());
  if (direct(x, w, product)) {
    matmul_forward(x, w.values, bias, w.packed, y);
    return;
  }
  const int64_t out = w.values.size(0), in = w.values.size(1);
  Tensor all_bias;
  if (bias.defined()) all_bias = part_of(bias.view({1, out}), 0, 1, 0, out, product).view({out});
  in_steps(x.size(0), rows_step(x, product), [&](int64_t r0, int64_t r1) {
    const Tensor rows = part_of(x, r0, r1, 0, in, product);
    in_steps(out, weights_step(in), [&](int64_t o0, int64_t o1) {
      Tensor part = Tensor::empty({r1 - r0, o1 - o0}, product, x.device());
      matmul_forward(rows, part_of(w, o0, o1, 0, in, product),
                     bias.defined() ? all_bias.slice(0, o0, o1) : Tensor{}, nullptr, part);
      put_part(part, y, r0, o0, /*accumulate=*/false);
    });
  });
}

void linear_dgrad(const Tensor& dy, const WeightView& w, bool accumulate, Tensor& dx) {
  const DType product = product_dtype(dy.dtype(), dy.device());
  if (direct(dy, w, product)) {
    matmul_dgrad(dy, w.values, w.packed, accumulate, dx);
    return;
  }
  const int64_t out = w.values.size(0), in = w.values.size(1);
  in_steps(dy.size(0), rows_step(dy, product), [&](int64_t r0, int64_t r1) {
    const Tensor rows = part_of(dy, r0, r1, 0, out, product);
    in_steps(in, weights_step(out), [&](int64_t i0, int64_t i1) {
      Tensor part = Tensor::empty({r1 - r0, i1 - i0}, product, dy.device());
      matmul_dgrad(rows, part_of(w, 0, out, i0, i1, product), nullptr, /*accumulate=*/false, part);
      put_part(part, dx, r0, i0, accumulate);
    });
  });
}

void linear_wgrad(const Tensor& dy, const Tensor& x, Tensor& dw) {
  const DType product = product_dtype(x.dtype(), x.device());
  if (x.dtype() == product) {
    matmul_wgrad(dy, x, dw);
    return;
  }
  const int64_t out = dw.size(0), in = dw.size(1);
  in_steps(x.size(0), kRows, [&](int64_t r0, int64_t r1) {
    const Tensor rows = part_of(x, r0, r1, 0, in, product);
    in_steps(out, weights_step(in), [&](int64_t o0, int64_t o1) {
      Tensor part = dw.slice(0, o0, o1);
      matmul_wgrad(part_of(dy, r0, r1, o0, o1, product), rows, part);
    });
  });
}

}  // namespace elastron::ops::cpu
