#include "ops/cross_entropy.h"

#include "core/dispatch.h"
#include "ops/backend.h"
#include "ops/cpu/cross_entropy.h"
#include "ops/cuda/token_ops.h"

namespace elastron::ops {

CrossEntropyRows cross_entropy_rows(const Tensor& logits, const Tensor& labels, int64_t first_id) {
  ELASTRON_CHECK(logits.rank() == 2, "cross_entropy takes [rows, shard]");
  check_dense("cross_entropy", logits, labels);
  const int64_t rows = logits.size(0);
  check_shape(labels, {rows}, "cross_entropy");
  const DType master = accumulator_dtype(logits.dtype());
  Device& device = logits.device();
  CrossEntropyRows out{Tensor::empty({rows}, master, device), Tensor::empty({rows}, master, device),
                       Tensor::empty({rows}, master, device),
                       Tensor::empty({rows}, DType::i32, device)};
  with_float_dtype(logits.dtype(), [&]<class T>() {
    using A = accumulator_t<T>;
    const T* l = logits.data<T>();
    const int32_t* ids = labels.data<int32_t>();
    A *max = out.max.data<A>(), *sum = out.sum_exp.data<A>(), *target = out.target.data<A>();
    int32_t* argmax = out.argmax.data<int32_t>();
    const int64_t shard = logits.size(1);
    run_on(
        device,
        [&] {
          cpu::cross_entropy_rows<T>(l, ids, rows, shard, first_id, max, sum, target, argmax);
        },
        [&](auto stream) {
          cuda::cross_entropy_rows<T>(l, ids, rows, shard, first_id, max, sum, target, argmax,
                                      stream);
        });
  });
  return out;
}

void cross_entropy_backward(Tensor& logits, const Tensor& labels, const Tensor& lse,
                            int64_t first_id, double scale) {
  ELASTRON_CHECK(logits.rank() == 2, "cross_entropy takes [rows, shard]");
  check_dense("cross_entropy_backward", logits, labels, lse);
  const int64_t rows = logits.size(0);
  check_shape(labels, {rows}, "cross_entropy_backward");
  check_shape(lse, {rows}, "cross_entropy_backward");
  with_float_dtype(logits.dtype(), [&]<class T>() {
    T* l = logits.data<T>();
    const int32_t* ids = labels.data<int32_t>();
    const auto* shift = lse.data<accumulator_t<T>>();
    const int64_t shard = logits.size(1);
    run_on(
        logits.device(),
        [&] { cpu::cross_entropy_backward<T>(l, ids, shift, rows, shard, first_id, scale); },
        [&](auto stream) {
          cuda::cross_entropy_backward<T>(l, ids, shift, rows, shard, first_id, scale, stream);
        });
  });
}

}  // namespace elastron::ops
