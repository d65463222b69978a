#include "ops/rope.h"

#include <cmath>
#include <numbers>

#include "core/dispatch.h"
#include "ops/backend.h"
#include "ops/cpu/rope.h"
#include "ops/cuda/token_ops.h"

namespace elastron::ops {

namespace {

template <class A>
A stretched(A frequency, const Llama3RopeScaling& s) {
  const A turns = A(s.original_max_position) / (A(2 * std::numbers::pi) / frequency);
  const A low = A(s.low_freq_factor), high = A(s.high_freq_factor);
  if (turns > high) return frequency;
  const A divided = frequency / A(s.factor);
  if (turns < low) return divided;
  const A keep = (turns - low) / (high - low);
  return (1 - keep) * divided + keep * frequency;
}

template <class A>
std::vector<A> inverse_frequencies(int64_t head_dim, const RopeRule& rule) {
  ELASTRON_CHECK(head_dim > 0 && head_dim % 2 == 0, "RoPE needs an even head_dim");
  std::vector<A> frequencies;
  for (int64_t i = 0; i < head_dim / 2; ++i) {
    const A exponent = A(2 * i) / A(head_dim);
    const A frequency = A(1) / std::pow(A(rule.theta), exponent);
    frequencies.push_back(rule.scaling ? stretched(frequency, *rule.scaling) : frequency);
  }
  return frequencies;
}

template <class A>
Tensor table_of(int64_t head_dim, const RopeRule& rule, int64_t max_position, Device& device) {
  const std::vector<A> frequencies = inverse_frequencies<A>(head_dim, rule);
  const int64_t half = head_dim / 2;
  const Shape shape{max_position, 2, half};
  if (!device.holds_values()) {
    const Tensor table = Tensor::empty(shape, dtype_of<A>, device);
    device.copy_from_host(table.raw(), nullptr, table.bytes());
    return table;
  }
  std::vector<A> table(size_t(shape.numel()));
  for (int64_t p = 0; p < max_position; ++p) {
    for (int64_t i = 0; i < half; ++i) {
      const A angle = A(p) * frequencies[size_t(i)];
      table[size_t((p * 2) * half + i)] = std::cos(angle);
      table[size_t((p * 2 + 1) * half + i)] = std::sin(angle);
    }
  }
  return Tensor::from(table, shape, device);
}

}  // namespace

Tensor rope_table(int64_t head_dim, const RopeRule& rule, int64_t max_position, DType dtype,
                  Device& device) {
  return with_master_dtype(
      dtype, [&]<class A>() { return table_of<A>(head_dim, rule, max_position, device); });
}

void rope_apply(Tensor& x, const Tensor& positions, const Tensor& table, bool inverse) {
  ELASTRON_CHECK(x.rank() == 3, "rope takes [tokens, heads, head_dim]");
  const int64_t tokens = x.size(0), heads = x.size(1), head_dim = x.size(2);
  ELASTRON_CHECK(x.stride(2) == 1 && (heads <= 1 || x.stride(1) == head_dim),
                 "rope: heads of a token must be contiguous");
  check_shape(positions, {tokens}, "rope");
  ELASTRON_CHECK(table.rank() == 3 && table.size(2) == head_dim / 2, "rope: table of another size");
  ELASTRON_CHECK(table.dtype() == accumulator_dtype(x.dtype()), "rope: table of another dtype");
  check_dense("rope", table, positions);
  const int32_t* p = positions.data<int32_t>();
  with_float_dtype(x.dtype(), [&]<class T>() {
    T* at = x.data<T>();
    const auto* numbers = table.data<accumulator_t<T>>();
    run_on(
        x.device(),
        [&] {
          for (int64_t t = 0; t < tokens; ++t) {
            ELASTRON_CHECK(p[t] >= 0 && p[t] < table.size(0), "rope: position beyond the table");
          }
          cpu::rope_apply<T>(at, x.stride(0), p, numbers, tokens, heads, head_dim, inverse);
        },
        [&](auto stream) {
          cuda::rope_apply<T>(at, x.stride(0), p, numbers, tokens, heads, head_dim, inverse,
                              stream);
        },
        [&] { return touches("rope", positions, x, x); });
  });
}

}  // namespace elastron::ops
