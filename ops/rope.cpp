#include "ops/rope.h"

#include <cmath>

#include "core/dispatch.h"
#include "ops/check.h"
#include "ops/cpu/rope.h"

namespace elastron::ops {

std::vector<double> rope_inverse_frequencies(int64_t head_dim, double theta) {
  ELASTRON_CHECK(head_dim > 0 && head_dim % 2 == 0, "RoPE needs an even head_dim");
  std::vector<double> frequencies(size_t(head_dim / 2));
  for (int64_t i = 0; i < head_dim / 2; ++i) {
    frequencies[size_t(i)] = std::pow(theta, -2.0 * double(i) / double(head_dim));
  }
  return frequencies;
}

Tensor rope_table(std::span<const double> inverse_frequencies, int64_t max_position, DType dtype,
                  Device& device) {
  const auto half = int64_t(inverse_frequencies.size());
  const Shape shape{max_position, 2, half};
  std::vector<double> table(size_t(shape.numel()));
  for (int64_t p = 0; p < max_position; ++p) {
    for (int64_t i = 0; i < half; ++i) {
      const double angle = double(p) * inverse_frequencies[size_t(i)];
      table[size_t((p * 2) * half + i)] = std::cos(angle);
      table[size_t((p * 2 + 1) * half + i)] = std::sin(angle);
    }
  }
  if (dtype == DType::f64) return Tensor::from(table, shape, device);
  return Tensor::from(std::vector<float>(table.begin(), table.end()), shape, device);
}

void rope_apply(Tensor& x, const Tensor& positions, const Tensor& table, bool inverse) {
  ELASTRON_CHECK(x.rank() == 3, "rope takes [tokens, heads, head_dim]");
  const int64_t tokens = x.size(0), heads = x.size(1), head_dim = x.size(2);
  ELASTRON_CHECK(x.stride(2) == 1 && (heads <= 1 || x.stride(1) == head_dim),
                 "rope: heads of a token must be contiguous");
  check_shape(positions, {tokens}, "rope");
  ELASTRON_CHECK(table.rank() == 3 && table.size(2) == head_dim / 2, "rope: table of another size");
  ELASTRON_CHECK(table.dtype() == accumulator_dtype(x.dtype()), "rope: table of another dtype");
  check_cpu(x, "rope");
  const int32_t* p = positions.data<int32_t>();
  for (int64_t t = 0; t < tokens; ++t) {
    ELASTRON_CHECK(p[t] >= 0 && p[t] < table.size(0), "rope: position beyond the table");
  }
  with_float_dtype(x.dtype(), [&]<class T>() {
    cpu::rope_apply<T>(x.data<T>(), x.stride(0), p, table.data<accumulator_t<T>>(), tokens, heads,
                       head_dim, inverse);
  });
}

}  // namespace elastron::ops
