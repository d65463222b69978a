#include "ops/dequantise.h"

#include "core/dispatch.h"
#include "ops/backend.h"
#include "ops/cpu/dequantise.h"
#include "ops/cuda/dequantise.h"
#include "ops/elementwise.h"

namespace elastron::ops {

void check_scale(const Tensor& values, const WeightScale& scale) {
  ELASTRON_CHECK(scale.out_block > 0 && scale.in_block > 0, "a scale of no values");
  ELASTRON_CHECK(scale.out_offset >= 0 && scale.out_offset < scale.out_block &&
                     scale.in_offset >= 0 && scale.in_offset < scale.in_block,
                 "a weight begins in its first block");
  check_shape(scale.values, scale.shape_for(values.size(0), values.size(1)), "scale of a weight");
  check_dense("scale of a weight", scale.values, values);
  ELASTRON_CHECK(scale.values.dtype() == DType::f32, "scales are float32");
}

Tensor dequantise(const Tensor& values, const WeightScale& scale, DType dtype) {
  ELASTRON_CHECK(values.rank() == 2, "dequantise takes [out, in]");
  if (!scale.defined()) return cast(values, dtype);
  return dequantise(values, scale, {0, values.size(0), 0, values.size(1)}, dtype);
}

Tensor dequantise(const Tensor& values, const WeightScale& scale, const WeightPart& part,
                  DType dtype) {
  ELASTRON_CHECK(values.rank() == 2, "dequantise takes [out, in]");
  check_scale(values, scale);
  const int64_t rows = part.r1 - part.r0, columns = part.c1 - part.c0, stride = values.size(1);
  ELASTRON_CHECK(part.r0 >= 0 && rows >= 0 && part.r1 <= values.size(0) && part.c0 >= 0 &&
                     columns >= 0 && part.c1 <= stride,
                 "a part beyond the weight");
  Tensor y = Tensor::empty({rows, columns}, dtype, values.device());
  if (y.numel() == 0) return y;
  // As a weight of its own, which begins somewhere in a block.
  detail::ScaleView view(scale);
  view.out_offset += part.r0;
  view.in_offset += part.c0;
  const e4m3* from = values.data<e4m3>() + part.r0 * stride + part.c0;
  with_float_dtype(dtype, [&]<class T>() {
    T* to = y.data<T>();
    run_on(
        values.device(), [&] { cpu::dequantise(from, stride, view, rows, columns, to); },
        [&](auto stream) { cuda::dequantise(from, stride, view, rows, columns, to, stream); },
        [&] {
          OpCost cost = touches("dequantise", y);
          cost.bytes += double(y.numel());
          return cost;
        });
  });
  return y;
}

}  // namespace elastron::ops
