#include "ops/cross_entropy.h"

#include "core/dispatch.h"
#include "ops/check.h"
#include "ops/cpu/cross_entropy.h"

namespace elastron::ops {

CrossEntropyRows cross_entropy_rows(const Tensor& logits, const Tensor& labels, int64_t first_id) {
  ELASTRON_CHECK(logits.rank() == 2, "cross_entropy takes [rows, shard]");
  check_contiguous(logits, "cross_entropy");
  check_cpu(logits, "cross_entropy");
  const int64_t rows = logits.size(0);
  check_shape(labels, {rows}, "cross_entropy");
  const DType master = accumulator_dtype(logits.dtype());
  Device& device = logits.device();
  CrossEntropyRows out{Tensor::empty({rows}, master, device), Tensor::empty({rows}, master, device),
                       Tensor::empty({rows}, master, device),
                       Tensor::empty({rows}, DType::i32, device)};
  with_float_dtype(logits.dtype(), [&]<class T>() {
    using A = accumulator_t<T>;
    cpu::cross_entropy_rows<T>(logits.data<T>(), labels.data<int32_t>(), rows, logits.size(1),
                               first_id, out.max.data<A>(), out.sum_exp.data<A>(),
                               out.target.data<A>(), out.argmax.data<int32_t>());
  });
  return out;
}

void cross_entropy_backward(Tensor& logits, const Tensor& labels, const Tensor& lse,
                            int64_t first_id, double scale) {
  ELASTRON_CHECK(logits.rank() == 2, "cross_entropy takes [rows, shard]");
  check_contiguous(logits, "cross_entropy_backward");
  check_cpu(logits, "cross_entropy_backward");
  const int64_t rows = logits.size(0);
  check_shape(labels, {rows}, "cross_entropy_backward");
  check_shape(lse, {rows}, "cross_entropy_backward");
  with_float_dtype(logits.dtype(), [&]<class T>() {
    cpu::cross_entropy_backward<T>(logits.data<T>(), labels.data<int32_t>(),
                                   lse.data<accumulator_t<T>>(), rows, logits.size(1), first_id,
                                   scale);
  });
}

}  // namespace elastron::ops
