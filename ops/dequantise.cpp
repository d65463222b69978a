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
  const size_t matrix = values.rank() - 2;  // the dimension of its rows: 0, or 1 in a stack
  const Shape blocks = scale.shape_for(values.size(matrix), values.size(matrix + 1));
  check_shape(scale.values, matrix == 0 ? blocks : Shape{values.size(0), blocks[0], blocks[1]},
              "scale of a weight");
  check_dense("scale of a weight", scale.values, values);
  ELASTRON_CHECK(scale.values.dtype() == DType::f32, "scales are float32");
}

namespace {

// A part of `count` matrices, of each the same.
struct Parts {
  const e4m3* values;
  detail::StackView at;
  int64_t count, rows, columns;
};

Tensor dequantise_parts(const Parts& p, const detail::ScaleView& scale, Tensor y) {
  if (y.numel() == 0) return y;
  with_float_dtype(y.dtype(), [&]<class T>() {
    T* to = y.data<T>();
    run_on(
        y.device(),
        [&] {
          detail::ScaleView own = scale;
          for (int64_t g = 0; g < p.count; ++g, own.values += p.at.scales) {
            cpu::dequantise(p.values + g * p.at.values, p.at.stride, own, p.rows, p.columns,
                            to + g * p.rows * p.columns);
          }
        },
        [&](auto stream) {
          cuda::dequantise(p.values, p.at, p.count, scale, p.rows, p.columns, to, stream);
        },
        [&] {
          OpCost cost = touches("dequantise", y);
          cost.bytes += double(y.numel());
          return cost;
        });
  });
  return y;
}

}  // namespace

Tensor dequantise(const Tensor& values, const WeightScale& scale, DType dtype) {
  ELASTRON_CHECK(values.rank() == 2 || values.rank() == 3, "dequantise takes [out, in]");
  if (!scale.defined()) return cast(values, dtype);
  if (values.rank() == 2) {
    return dequantise(values, scale, {0, values.size(0), 0, values.size(1)}, dtype);
  }
  check_scale(values, scale);
  const int64_t rows = values.size(1), columns = values.size(2);
  return dequantise_parts(
      {values.data<e4m3>(),
       {.stride = columns, .values = rows * columns, .scales = scale.values.stride(0)},
       values.size(0),
       rows,
       columns},
      detail::ScaleView(scale), Tensor::empty(values.shape(), dtype, values.device()));
}

Tensor dequantise(const Tensor& values, const WeightScale& scale, const WeightPart& part,
                  DType dtype) {
  ELASTRON_CHECK(values.rank() == 2, "dequantise takes [out, in]");
  check_scale(values, scale);
  const int64_t rows = part.r1 - part.r0, columns = part.c1 - part.c0, stride = values.size(1);
  ELASTRON_CHECK(part.r0 >= 0 && rows >= 0 && part.r1 <= values.size(0) && part.c0 >= 0 &&
                     columns >= 0 && part.c1 <= stride,
                 "a part beyond the weight");
  // As a weight of its own, which begins somewhere in a block.
  detail::ScaleView view(scale);
  view.out_offset += part.r0;
  view.in_offset += part.c0;
  return dequantise_parts({values.data<e4m3>() + part.r0 * stride + part.c0,
                           {.stride = stride, .values = 0, .scales = 0},
                           1,
                           rows,
                           columns},
                          view, Tensor::empty({rows, columns}, dtype, values.device()));
}

}  // namespace elastron::ops
