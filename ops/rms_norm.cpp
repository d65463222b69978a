#include "ops/rms_norm.h"

#include "core/dispatch.h"
#include "ops/backend.h"
#include "ops/cpu/rms_norm.h"
#include "ops/cuda/reductions.h"
#include "ops/cuda/rms_norm.h"

namespace elastron::ops {

RmsNormOutput rms_norm_forward(const Tensor& x, const Tensor& w, double eps) {
  const int64_t n = x.size(-1), rows = n > 0 ? x.numel() / n : 0;
  check_shape(w, {n}, "rms_norm");
  ELASTRON_CHECK(w.dtype() == x.dtype(), "rms_norm: weight of another dtype");
  check_dense("rms_norm", x, w);
  RmsNormOutput out{Tensor::empty(x.shape(), x.dtype(), x.device()),
                    Tensor::empty({rows}, accumulator_dtype(x.dtype()), x.device())};
  with_float_dtype(x.dtype(), [&]<class T>() {
    const T *from = x.data<T>(), *weight = w.data<T>();
    T* to = out.y.data<T>();
    auto* inv_rms = out.inv_rms.data<accumulator_t<T>>();
    run_on(
        x.device(), [&] { cpu::rms_norm_forward<T>(from, weight, to, inv_rms, rows, n, eps); },
        [&](auto stream) {
          cuda::rms_norm_forward<T>(from, weight, to, inv_rms, rows, n, eps, stream);
        },
        [&] { return touches("rms_norm", x, w, out.y, out.inv_rms); });
  });
  return out;
}

Tensor rms_norm_backward(const Tensor& dy, const Tensor& x, const Tensor& w, const Tensor& inv_rms,
                         const Tensor& accumulate_into, Tensor* dw) {
  const int64_t n = x.size(-1), rows = n > 0 ? x.numel() / n : 0;
  ELASTRON_CHECK(dy.numel() == x.numel() && dy.dtype() == x.dtype(), "rms_norm_backward: dy");
  check_shape(w, {n}, "rms_norm_backward");
  check_shape(inv_rms, {rows}, "rms_norm_backward");
  check_dense("rms_norm_backward", dy, x, w, inv_rms);
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
    const T *d = dy.data<T>(), *from = x.data<T>(), *weight = w.data<T>();
    const A* r = inv_rms.data<A>();
    T* to = dx.data<T>();
    const bool add = accumulate_into.defined();
    const auto scratch_numbers = [&] {
      return Tensor::empty({cuda::column_sums_scratch(rows, n)}, dw->dtype(), x.device());
    };
    run_on(
        x.device(),
        [&] {
          cpu::rms_norm_backward<T>(d, from, weight, r, to, add, rows, n);
          if (dw != nullptr) cpu::rms_norm_weight_gradient<T>(d, from, r, dw->data<A>(), rows, n);
        },
        [&](auto stream) {
          cuda::rms_norm_backward<T>(d, from, weight, r, to, add, rows, n, stream);
          if (dw == nullptr) return;
          const Tensor scratch = scratch_numbers();
          cuda::add_rms_norm_weight_gradient<T>(d, from, r, rows, n, scratch.data<A>(),
                                                dw->data<A>(), stream);
        },
        [&](MetaDevice& meta) {
          OpCost cost = touches("rms_norm_backward", dy, x, w, inv_rms, dx);
          if (add) cost.bytes += double(dx.bytes());
          meta.record(cost);
          if (dw == nullptr) return;
          meta.record(cuda::column_sums_cost("rms_norm_weight_gradient",
                                             double(dy.bytes() + x.bytes()), rows, n));
          if (meta.behaves_as() == DeviceKind::cuda) scratch_numbers();
        });
  });
  return dx;
}

}  // namespace elastron::ops
