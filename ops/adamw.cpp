#include "ops/adamw.h"

#include "core/dispatch.h"
#include "ops/check.h"
#include "ops/cpu/adamw.h"

namespace elastron::ops {

void adamw_step(Tensor& master, const Tensor& grad, Tensor& exp_avg, Tensor& exp_avg_sq,
                Tensor* value, const AdamWSettings& settings, int64_t step, double grad_scale) {
  check_same(master, grad, "adamw");
  check_same(master, exp_avg, "adamw");
  check_same(master, exp_avg_sq, "adamw");
  check_contiguous(master, "adamw");
  check_contiguous(grad, "adamw");
  check_cpu(master, "adamw");
  ELASTRON_CHECK(step >= 1, "adamw: steps count from 1");
  with_master_dtype(master.dtype(), [&]<class A>() {
    const auto run = [&]<class V>(V* copy) {
      cpu::adamw_step<A, V>(master.data<A>(), grad.data<A>(), exp_avg.data<A>(),
                            exp_avg_sq.data<A>(), copy, master.numel(), settings, step, grad_scale);
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
