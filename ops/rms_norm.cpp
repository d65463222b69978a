#include "ops/rms_norm.h"

#include "core/dispatch.h"
#include "ops/check.h"
#include "ops/cpu/rms_norm.h"

namespace elastron::ops {

RmsNormOutput rms_norm_forward(const Tensor& x, const Tensor& w, double eps) {
  const int64_t n = x.size(-1), rows = n > 0 ? x.numel() / n : 0;
  check_shape(w, {n}, "rms_norm");
  ELASTRON_CHECK(w.dtype() == x.dtype(), "rms_norm: weight of another dtype");
  check_contiguous(x, "rms_norm");
  check_cpu(x, "rms_norm");
  RmsNormOutput out{Tensor::empty(x.shape(), x.dtype(), x.device()),
                    Tensor::empty({rows}, accumulator_dtype(x.dtype()), x.device())};
  with_float_dtype(x.dtype(), [&]<class T>() {
    cpu::rms_norm_forward<T>(x.data<T>(), w.data<T>(), out.y.data<T>(),
                             out.inv_rms.data<accumulator_t<T>>(), rows, n, eps);
  });
  return out;
}

Tensor rms_norm_backward(const Tensor& dy, const Tensor& x, const Tensor& w, const Tensor& inv_rms,
                         const Tensor& accumulate_into, Tensor* dw) {
  const int64_t n = x.size(-1), rows = n > 0 ? x.numel() / n : 0;
  ELASTRON_CHECK(dy.numel() == x.numel() && dy.dtype() == x.dtype(), "rms_norm_backward: dy");
  check_shape(w, {n}, "rms_norm_backward");
  check_shape(inv_rms, {rows}, "rms_norm_backward");
  check_contiguous(dy, "rms_norm_backward");
  check_contiguous(x, "rms_norm_backward");
  check_cpu(x, "rms_norm_backward");
  Tensor dx = accumulate_into;
  if (dx.defined()) {
    check_same(dx, x, "rms_norm_backward");
    check_contiguous(dx, "rms_norm_backward");
  } else {
    dx = Tensor::empty(x.shape(), x.dtype(), x.device());
  }
  if (dw != nullptr) check_shape(*dw, {n}, "rms_norm_backward");
  with_float_dtype(x.dtype(), [&]<class T>() {
    using A = accumulator_t<T>;
    cpu::rms_norm_backward<T>(dy.data<T>(), x.data<T>(), w.data<T>(), inv_rms.data<A>(),
                              dx.data<T>(), accumulate_into.defined(), rows, n);
    if (dw != nullptr) {
      cpu::rms_norm_weight_gradient<T>(dy.data<T>(), x.data<T>(), inv_rms.data<A>(), dw->data<A>(),
                                       rows, n);
    }
  });
  return dx;
}

}  // namespace elastron::ops
