#include "ops/embedding.h"

#include "core/dispatch.h"
#include "ops/check.h"
#include "ops/cpu/embedding.h"

namespace elastron::ops {

Tensor embedding_forward(const Tensor& ids, const Tensor& table, int64_t first_row) {
  ELASTRON_CHECK(ids.rank() == 1 && table.rank() == 2, "embedding takes [tokens], [rows, hidden]");
  check_contiguous(ids, "embedding");
  check_contiguous(table, "embedding");
  check_cpu(table, "embedding");
  Tensor y = Tensor::empty({ids.size(0), table.size(1)}, table.dtype(), table.device());
  with_float_dtype(table.dtype(), [&]<class T>() {
    cpu::embedding_forward<T>(ids.data<int32_t>(), table.data<T>(), y.data<T>(), ids.size(0),
                              table.size(0), table.size(1), first_row);
  });
  return y;
}

void embedding_backward(const Tensor& dy, const Tensor& ids, int64_t first_row, Tensor& dtable) {
  check_shape(dy, {ids.size(0), dtable.size(1)}, "embedding_backward");
  ELASTRON_CHECK(dtable.dtype() == accumulator_dtype(dy.dtype()),
                 "embedding_backward: the table's gradient is in master dtype");
  check_contiguous(dy, "embedding_backward");
  check_contiguous(dtable, "embedding_backward");
  check_cpu(dy, "embedding_backward");
  with_float_dtype(dy.dtype(), [&]<class T>() {
    cpu::embedding_backward<T>(dy.data<T>(), ids.data<int32_t>(), dtable.data<accumulator_t<T>>(),
                               ids.size(0), dtable.size(0), dtable.size(1), first_row);
  });
}

}  // namespace elastron::ops
