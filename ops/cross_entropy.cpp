#include "ops/cross_entropy.h"

#include "core/dispatch.h"
#include "ops/backend.h"
#include "ops/cpu/cross_entropy.h"
#include "ops/cuda/token_ops.h"
#include "ops/detail/cross_entropy_math.h"

namespace elastron::ops {

CrossEntropyRows cross_entropy_rows(const Tensor& logits, const Tensor& labels, int64_t first_id) {
  ELASTRON_CHECK(logits.rank() == 2, "cross_entropy takes [rows, shard]");
  check_dense("cross_entropy", logits, labels);
  const int64_t rows = logits.size(0);
  check_shape(labels, {rows}, "cross_entropy");
  Device& device = logits.device();
  CrossEntropyRows out;
  out.parts = Tensor::empty({detail::kCrossEntropyParts, rows}, DType::f64, device);
  const auto part = [&](int64_t i) { return out.parts.slice(0, i, i + 1).view({rows}); };
  out.max = part(detail::kPartMax);
  out.sum_exp = part(detail::kPartSumExp);
  out.target = part(detail::kPartTarget);
  out.argmax = part(detail::kPartArgmax);
  double* parts = out.parts.data<double>();
  with_float_dtype(logits.dtype(), [&]<class T>() {
    const T* l = logits.data<T>();
    const int32_t* ids = labels.data<int32_t>();
    const int64_t shard = logits.size(1);
    run_on(
        device, [&] { cpu::cross_entropy_rows<T>(l, ids, rows, shard, first_id, parts); },
        [&](auto stream) {
          cuda::cross_entropy_rows<T>(l, ids, rows, shard, first_id, parts, stream);
        },
        [&] { return touches("cross_entropy", logits, labels, out.parts); });
  });
  return out;
}

CrossEntropyWhole cross_entropy_combine(const Tensor& parts, DType master) {
  ELASTRON_CHECK(parts.rank() == 3 && parts.size(1) == detail::kCrossEntropyParts,
                 "cross_entropy_combine takes [shards, 4, rows]");
  check_dense("cross_entropy_combine", parts);
  const int64_t shards = parts.size(0), rows = parts.size(2);
  Device& device = parts.device();
  CrossEntropyWhole out{Tensor::empty({rows}, master, device),
                        Tensor::empty({rows}, DType::f64, device),
                        Tensor::empty({rows}, DType::i32, device)};
  const double* from = parts.data<double>();
  double* loss = out.loss.data<double>();
  int32_t* argmax = out.argmax.data<int32_t>();
  with_master_dtype(master, [&]<class A>() {
    A* lse = out.lse.data<A>();
    run_on(
        device, [&] { cpu::cross_entropy_combine<A>(from, shards, rows, lse, loss, argmax); },
        [&](auto stream) {
          cuda::cross_entropy_combine<A>(from, shards, rows, lse, loss, argmax, stream);
        },
        [&] { return touches("cross_entropy_combine", parts, out.lse, out.loss, out.argmax); });
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
        },
        [&] {
          OpCost cost = touches("cross_entropy_backward", labels, lse, logits, logits);
          cost.launches = cuda::cross_entropy_backward_launches(rows, shard);
          return cost;
        });
  });
}

}  // namespace elastron::ops
