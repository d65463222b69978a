#include "ops/adamw.h"

#include "core/dispatch.h"
#include "ops/backend.h"
#include "ops/cpu/adamw.h"
#include "ops/cuda/elementwise.h"

namespace elastron::ops {

void adamw_step(Tensor& master, const Tensor& grad, Tensor& exp_avg, Tensor& exp_avg_sq,
                Tensor* value, const AdamWSettings& settings, int64_t step, double grad_scale) {
  check_same(master, grad, "adamw");
  check_same(master, exp_avg, "adamw");
  check_same(master, exp_avg_sq, "adamw");
  check_dense("adamw", master, grad, exp_avg, exp_avg_sq);
  ELASTRON_CHECK(step >= 1, "adamw: steps count from 1");
  with_master_dtype(master.dtype(), [&]<class A>() {
    const auto run = [&]<class V>(V* copy) {
      A *p = master.data<A>(), *m = exp_avg.data<A>(), *v = exp_avg_sq.data<A>();
      const A* g = grad.data<A>();
      const int64_t n = master.numel();
      run_on(
          master.device(),
          [&] { cpu::adamw_step<A, V>(p, g, m, v, copy, n, settings, step, grad_scale); },
          [&](auto stream) {
            cuda::adamw_step<A, V>(p, g, m, v, copy, n, settings, step, grad_scale, stream);
          },
          [&] {
            OpCost cost =
                touches("adamw", grad, master, master, exp_avg, exp_avg, exp_avg_sq, exp_avg_sq);
            if (value != nullptr) cost.bytes += double(value->bytes());
            return cost;
          });
    };
    if (value == nullptr) {
      run(static_cast<A*>(nullptr));
    } else {
      check_shape(*value, master.shape(), "adamw");
      check_contiguous(*value, "adamw");
      with_float_dtype(value->dtype(), [&]<class V>() { run(value->data<V>()); });
    }
  });
}

}  // namespace elastron::ops
