#include "ops/rms_norm_rope.h"

#include "core/dispatch.h"
#include "ops/backend.h"
#include "ops/cuda/rms_norm_rope.h"
#include "ops/rope.h"

namespace elastron::ops {

namespace {

void check_heads(const Tensor& x, const Tensor& w, const Tensor& positions, const Tensor& table) {
  ELASTRON_CHECK(x.rank() == 3, "rms_norm_rope takes [tokens, heads, head_dim]");
  check_shape(w, {x.size(2)}, "rms_norm_rope");
  ELASTRON_CHECK(w.dtype() == x.dtype(), "rms_norm_rope: weight of another dtype");
  check_shape(positions, {x.size(0)}, "rms_norm_rope");
  ELASTRON_CHECK(table.rank() == 3 && table.size(2) == x.size(2) / 2 && x.size(2) % 2 == 0,
                 "rms_norm_rope: table of another size");
  ELASTRON_CHECK(table.dtype() == accumulator_dtype(x.dtype()),
                 "rms_norm_rope: table of another dtype");
  check_dense("rms_norm_rope", x, w, positions, table);
}

}  // namespace

RmsNormOutput rms_norm_rope_forward(const Tensor& x, const Tensor& w, double eps,
                                    const Tensor& positions, const Tensor& table) {
  check_heads(x, w, positions, table);
  RmsNormOutput out;
  const int64_t tokens = x.size(0), heads = x.size(1);
  const auto apart = [&] {
    out = rms_norm_forward(x, w, eps);
    rope_apply(out.y, positions, table, false);
  };
  const auto allocate = [&] {
    out = {Tensor::empty(x.shape(), x.dtype(), x.device()),
           Tensor::empty({tokens * heads}, accumulator_dtype(x.dtype()), x.device())};
  };
  run_on(
      x.device(), apart,
      [&](auto stream) {
        allocate();
        with_float_dtype(x.dtype(), [&]<class T>() {
          cuda::rms_norm_rope_forward<T>(
              {x.data<T>(), w.data<T>(), positions.data<int32_t>(), table.data<accumulator_t<T>>(),
               tokens, heads, x.size(2)},
              out.y.template data<T>(), out.inv_rms.template data<accumulator_t<T>>(), eps, stream);
        });
      },
      [&](MetaDevice& meta) {
        if (meta.behaves_as() == DeviceKind::cpu) return apart();
        allocate();
        meta.record(touches("rms_norm_rope", x, w, positions, out.y, out.inv_rms));
      });
  return out;
}

Tensor rms_norm_rope_backward(Tensor& dy, const Tensor& x, const Tensor& w, const Tensor& inv_rms,
                              const Tensor& positions, const Tensor& table, Tensor* dw) {
  check_heads(x, w, positions, table);
  check_same(dy, x, "rms_norm_rope_backward");
  check_dense("rms_norm_rope_backward", dy, inv_rms);
  const auto apart = [&] {
    rope_apply(dy, positions, table, true);
    return rms_norm_backward(dy, x, w, inv_rms, {}, dw);
  };
  // The weight's gradient needs what was turned back: then it has to be written anyway.
  if (dw != nullptr) return apart();
  Tensor dx;
  run_on(
      x.device(), [&] { dx = apart(); },
      [&](auto stream) {
        check_shape(inv_rms, {x.size(0) * x.size(1)}, "rms_norm_rope_backward");
        dx = Tensor::empty(x.shape(), x.dtype(), x.device());
        with_float_dtype(x.dtype(), [&]<class T>() {
          cuda::rms_norm_rope_backward<T>(
              {x.data<T>(), w.data<T>(), positions.data<int32_t>(), table.data<accumulator_t<T>>(),
               x.size(0), x.size(1), x.size(2)},
              dy.data<T>(), inv_rms.data<accumulator_t<T>>(), dx.data<T>(), stream);
        });
      },
      [&](MetaDevice& meta) {
        if (meta.behaves_as() == DeviceKind::cpu) {
          dx = apart();
          return;
        }
        dx = Tensor::empty(x.shape(), x.dtype(), meta);
        meta.record(touches("rms_norm_rope_backward", dy, x, w, positions, inv_rms, dx));
      });
  return dx;
}

}  // namespace elastron::ops
