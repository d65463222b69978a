#include "ops/quantise.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/float8.h"
#include "ops/check.h"
#include "ops/cpu/parallel_for.h"

namespace elastron::ops {

namespace {

float largest_magnitude(const float* x, int64_t n) {
  float most = 0;
#pragma omp simd reduction(max : most)
  for (int64_t i = 0; i < n; ++i) most = std::max(most, std::abs(x[i]));
  return most;
}

void divide_range(const float* x, float by, e4m3* y, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i].bits = e4m3(x[i] / by).bits;
}

}  // namespace

QuantisedWeight quantise(const Tensor& weight, const WeightBlocks& blocks) {
  ELASTRON_CHECK(weight.rank() == 2 && weight.device().kind() == DeviceKind::cpu,
                 "weights [out, in] are quantised on the host");
  check_contiguous(weight, "quantise");
  const int64_t rows = weight.size(0), columns = weight.size(1);
  const Shape of_scale = WeightScale::shape(rows, columns, blocks.out, blocks.in);
  QuantisedWeight q{.values = Tensor::empty(weight.shape(), DType::e4m3, weight.device()),
                    .scale = {.values = Tensor::empty(of_scale, DType::f32, weight.device()),
                              .out_block = blocks.out,
                              .in_block = blocks.in}};
  const auto* from = weight.data<float>();
  auto* to = q.values.data<e4m3>();
  auto* scales = q.scale.values.data<float>();
  cpu::parallel_rows(of_scale.numel(), blocks.out * blocks.in, [&](int64_t block) {
    const int64_t r0 = block / of_scale[1] * blocks.out, c0 = block % of_scale[1] * blocks.in;
    const int64_t r1 = std::min(r0 + blocks.out, rows), n = std::min(blocks.in, columns - c0);
    float most = 0;
    for (int64_t r = r0; r < r1; ++r) {
      most = std::max(most, largest_magnitude(from + r * columns + c0, n));
    }
    // A number that can be divided by, also where the block's are next to nothing.
    const float least = std::numeric_limits<float>::min();
    scales[block] = most > 0 ? std::max(most / e4m3::kLargest, least) : 1;
    for (int64_t r = r0; r < r1; ++r) {
      divide_range(from + r * columns + c0, scales[block], to + r * columns + c0, n);
    }
  });
  return q;
}

}  // namespace elastron::ops
