#include "ops/embedding.h"

#include "core/dispatch.h"
#include "ops/backend.h"
#include "ops/cpu/embedding.h"
#include "ops/cuda/dequantise.h"
#include "ops/cuda/token_ops.h"
#include "ops/dequantise.h"
#include "ops/elementwise.h"

namespace elastron::ops {

Tensor embedding_forward(const Tensor& ids, const Tensor& table, int64_t first_row) {
  ELASTRON_CHECK(ids.rank() == 1 && table.rank() == 2, "embedding takes [tokens], [rows, hidden]");
  check_dense("embedding", table, ids);
  Tensor y = Tensor::empty({ids.size(0), table.size(1)}, table.dtype(), table.device());
  with_float_dtype(table.dtype(), [&]<class T>() {
    const int32_t* i = ids.data<int32_t>();
    const T* from = table.data<T>();
    T* to = y.data<T>();
    const int64_t tokens = ids.size(0), rows = table.size(0), hidden = table.size(1);
    run_on(
        table.device(),
        [&] { cpu::embedding_forward<T>(i, from, to, tokens, rows, hidden, first_row); },
        [&](auto stream) {
          cuda::embedding_forward<T>(i, from, to, tokens, rows, hidden, first_row, stream);
        },
        [&] { return touches("embedding", ids, y, y); });
  });
  return y;
}

Tensor embedding_forward(const Tensor& ids, const Tensor& table, int64_t first_row,
                         const WeightScale& scale, DType dtype) {
  if (!scale.defined()) {
    const Tensor y = embedding_forward(ids, table, first_row);
    return y.dtype() == dtype ? y : cast(y, dtype);
  }
  ELASTRON_CHECK(ids.rank() == 1 && table.rank() == 2, "embedding takes [tokens], [rows, hidden]");
  check_dense("embedding", table, ids);
  check_scale(table, scale);
  Tensor y = Tensor::empty({ids.size(0), table.size(1)}, dtype, table.device());
  with_float_dtype(dtype, [&]<class T>() {
    const int32_t* i = ids.data<int32_t>();
    const auto* from = table.data<e4m3>();
    const detail::ScaleView view(scale);
    T* to = y.data<T>();
    const int64_t tokens = ids.size(0), rows = table.size(0), hidden = table.size(1);
    run_on(
        table.device(),
        [&] { cpu::embedding_forward(i, from, view, to, tokens, rows, hidden, first_row); },
        [&](auto stream) {
          cuda::embedding_forward(i, from, view, to, tokens, rows, hidden, first_row, stream);
        },
        [&] {
          OpCost cost = touches("embedding", ids, y);
          cost.bytes += double(y.numel());
          return cost;
        });
  });
  return y;
}

void embedding_backward(const Tensor& dy, const Tensor& ids, int64_t first_row, Tensor& dtable) {
  check_shape(dy, {ids.size(0), dtable.size(1)}, "embedding_backward");
  ELASTRON_CHECK(dtable.dtype() == accumulator_dtype(dy.dtype()),
                 "embedding_backward: the table's gradient is in master dtype");
  check_dense("embedding_backward", dy, ids, dtable);
  with_float_dtype(dy.dtype(), [&]<class T>() {
    const T* from = dy.data<T>();
    const int32_t* i = ids.data<int32_t>();
    auto* to = dtable.data<accumulator_t<T>>();
    const int64_t tokens = ids.size(0), rows = dtable.size(0), hidden = dtable.size(1);
    run_on(
        dy.device(),
        [&] { cpu::embedding_backward<T>(from, i, to, tokens, rows, hidden, first_row); },
        [&](auto stream) {
          cuda::embedding_backward<T>(from, i, to, tokens, rows, hidden, first_row, stream);
        },
        [&] {
          // Each token's row is added to one of the table's.
          OpCost cost = touches("embedding_backward", ids, dy);
          cost.bytes += 2 * double(dy.numel()) * double(dtype_size(dtable.dtype()));
          if (tokens == 0 || rows == 0) cost.launches = 0;
          return cost;
        });
  });
}

}  // namespace elastron::ops
