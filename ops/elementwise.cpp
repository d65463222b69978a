#include "ops/elementwise.h"

#include "core/dispatch.h"
#include "ops/check.h"
#include "ops/cpu/elementwise.h"

namespace elastron::ops {

Tensor add(const Tensor& a, const Tensor& b) {
  check_same(a, b, "add");
  check_dense("add", a, b);
  Tensor sum = Tensor::empty(a.shape(), a.dtype(), a.device());
  with_float_dtype(
      a.dtype(), [&]<class T>() { cpu::add(a.data<T>(), b.data<T>(), sum.data<T>(), a.numel()); });
  return sum;
}

void add_into(Tensor& a, const Tensor& b) {
  check_same(a, b, "add_into");
  check_contiguous(a, "add_into");
  check_contiguous(b, "add_into");
  check_cpu(a, "add_into");
  with_float_dtype(a.dtype(),
                   [&]<class T>() { cpu::add(a.data<T>(), b.data<T>(), a.data<T>(), a.numel()); });
}

void scale_into(Tensor& a, double factor) {
  check_contiguous(a, "scale_into");
  check_cpu(a, "scale_into");
  with_float_dtype(a.dtype(), [&]<class T>() { cpu::scale_into(a.data<T>(), factor, a.numel()); });
}

Tensor cast(const Tensor& x, DType dtype) {
  Tensor y = Tensor::empty(x.shape(), dtype, x.device());
  cast_into(x, y);
  return y;
}

void cast_into(const Tensor& x, Tensor& y) {
  check_shape(y, x.shape(), "cast");
  check_contiguous(x, "cast");
  check_contiguous(y, "cast");
  check_cpu(x, "cast");
  with_float_dtype(x.dtype(), [&]<class From>() {
    with_float_dtype(y.dtype(),
                     [&]<class To>() { cpu::cast(x.data<From>(), y.data<To>(), x.numel()); });
  });
}

Tensor silu_forward(const Tensor& x) {
  check_contiguous(x, "silu");
  check_cpu(x, "silu");
  Tensor y = Tensor::empty(x.shape(), x.dtype(), x.device());
  with_float_dtype(x.dtype(),
                   [&]<class T>() { cpu::silu_forward(x.data<T>(), y.data<T>(), x.numel()); });
  return y;
}

Tensor silu_backward(const Tensor& dy, const Tensor& x) {
  check_same(dy, x, "silu_backward");
  check_contiguous(dy, "silu_backward");
  check_contiguous(x, "silu_backward");
  check_cpu(x, "silu_backward");
  Tensor dx = Tensor::empty(x.shape(), x.dtype(), x.device());
  with_float_dtype(x.dtype(), [&]<class T>() {
    cpu::silu_backward(dy.data<T>(), x.data<T>(), dx.data<T>(), x.numel());
  });
  return dx;
}

double sum_of_squares(const Tensor& x) {
  check_contiguous(x, "sum_of_squares");
  check_cpu(x, "sum_of_squares");
  double sum = 0;
  with_float_dtype(x.dtype(),
                   [&]<class T>() { sum = cpu::sum_of_squares(x.data<T>(), x.numel()); });
  return sum;
}

bool all_finite(const Tensor& x) {
  check_contiguous(x, "all_finite");
  check_cpu(x, "all_finite");
  bool finite = true;
  with_float_dtype(x.dtype(), [&]<class T>() { finite = cpu::all_finite(x.data<T>(), x.numel()); });
  return finite;
}

Tensor gather_rows(const Tensor& x, const Tensor& rows) {
  ELASTRON_CHECK(x.rank() == 2 && rows.rank() == 1, "gather_rows takes [tokens, m] and [n]");
  check_contiguous(x, "gather_rows");
  check_cpu(x, "gather_rows");
  Tensor y = Tensor::empty({rows.size(0), x.size(1)}, x.dtype(), x.device());
  const size_t row_bytes = size_t(x.size(1)) * dtype_size(x.dtype());
  cpu::gather_rows(x.raw(), rows.data<int32_t>(), y.raw(), rows.size(0), row_bytes);
  return y;
}

void scatter_rows(const Tensor& x, const Tensor& rows, Tensor& y) {
  ELASTRON_CHECK(x.rank() == 2 && y.rank() == 2 && x.size(1) == y.size(1) &&
                     rows.numel() == x.size(0) && x.dtype() == y.dtype(),
                 "scatter_rows takes [n, m], [n] and [tokens, m]");
  check_contiguous(x, "scatter_rows");
  check_contiguous(y, "scatter_rows");
  check_cpu(x, "scatter_rows");
  const size_t row_bytes = size_t(x.size(1)) * dtype_size(x.dtype());
  cpu::scatter_rows(x.raw(), rows.data<int32_t>(), y.raw(), rows.size(0), row_bytes);
}

}  // namespace elastron::ops
