#include "ops/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/dispatch.h"
#include "ops/backend.h"
#include "ops/cpu/rope.h"
#include "ops/cuda/token_ops.h"

namespace elastron::ops {

namespace {

// theta^(2 i / head_dim): what a frequency is the inverse of.
template <class A>
std::vector<A> powers_of(double theta, int64_t head_dim) {
  std::vector<A> powers;
  for (int64_t i = 0; i < head_dim / 2; ++i) {
    powers.push_back(std::pow(A(theta), A(2 * i) / A(head_dim)));
  }
  return powers;
}

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

// Where the ramp between kept and divided frequencies begins and ends, in indices i.
struct Ramp {
  double low, high;
};

Ramp yarn_ramp(int64_t head_dim, double theta, const YarnRopeScaling& s) {
  // The index whose frequency turns so often within the original length.
  const auto index = [&](double turns) {
    return double(head_dim) * std::log(s.original_max_position / (turns * 2 * std::numbers::pi)) /
           (2 * std::log(theta));
  };
  Ramp ramp{index(s.beta_fast), index(s.beta_slow)};
  if (s.truncate) ramp = {std::floor(ramp.low), std::ceil(ramp.high)};
  ramp = {std::max(ramp.low, 0.0), std::min(ramp.high, double(head_dim - 1))};
  if (ramp.low == ramp.high) ramp.high += 0.001;
  return ramp;
}

// The frequencies of each kind of scaling, and how the formulas round, one step after the other.
template <class A>
struct Frequencies {
  int64_t head_dim;
  double theta;
  std::vector<A> powers = powers_of<A>(theta, head_dim);

  std::vector<A> operator()(std::monostate) const {
    return each([](A power, int64_t) { return A(1) / power; });
  }
  std::vector<A> operator()(const LinearRopeScaling& s) const {
    return each([&](A power, int64_t) { return A(1) / power / A(s.factor); });
  }
  std::vector<A> operator()(const Llama3RopeScaling& s) const {
    return each([&](A power, int64_t) { return stretched(A(1) / power, s); });
  }
  std::vector<A> operator()(const YarnRopeScaling& s) const {
    const Ramp ramp = yarn_ramp(head_dim, theta, s);
    return each([&](A power, int64_t i) {
      const A along = (A(i) - A(ramp.low)) / A(ramp.high - ramp.low);
      const A keep = 1 - std::clamp(along, A(0), A(1));
      return A(1) / (A(s.factor) * power) * (1 - keep) + A(1) / power * keep;
    });
  }

  template <class F>
  std::vector<A> each(F&& frequency) const {
    std::vector<A> all;
    for (size_t i = 0; i < powers.size(); ++i) all.push_back(frequency(powers[i], int64_t(i)));
    return all;
  }
};

template <class A>
Tensor table_of(int64_t head_dim, const RopeRule& rule, int64_t max_position, Device& device) {
  const auto [frequencies, scale] = rope_frequencies(head_dim, rule, dtype_of<A>);
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
      const A angle = A(p) * A(frequencies[size_t(i)]);
      table[size_t((p * 2) * half + i)] = std::cos(angle) * A(scale);
      table[size_t((p * 2 + 1) * half + i)] = std::sin(angle) * A(scale);
    }
  }
  return Tensor::from(table, shape, device);
}

}  // namespace

double yarn_attention_factor(double factor, std::optional<double> mscale,
                             std::optional<double> mscale_all_dim) {
  const auto magnitude = [&](double s) { return factor <= 1 ? 1 : 0.1 * s * std::log(factor) + 1; };
  if (mscale && mscale_all_dim) return magnitude(*mscale) / magnitude(*mscale_all_dim);
  return magnitude(1);
}

RopeFrequencies rope_frequencies(int64_t head_dim, const RopeRule& rule, DType dtype) {
  ELASTRON_CHECK(head_dim > 0 && head_dim % 2 == 0, "RoPE needs an even head_dim");
  RopeFrequencies result;
  with_master_dtype(dtype, [&]<class A>() {
    const std::vector<A> inverse = std::visit(Frequencies<A>{head_dim, rule.theta}, rule.scaling);
    result.inverse.assign(inverse.begin(), inverse.end());
  });
  const auto* yarn = std::get_if<YarnRopeScaling>(&rule.scaling);
  if (yarn != nullptr) result.scale = yarn->attention_factor;
  return result;
}

Tensor rope_table(int64_t head_dim, const RopeRule& rule, int64_t max_position, DType dtype,
                  Device& device) {
  return with_master_dtype(
      dtype, [&]<class A>() { return table_of<A>(head_dim, rule, max_position, device); });
}

void rope_apply(Tensor& x, const Tensor& positions, const Tensor& table, bool transposed) {
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
          cpu::rope_apply<T>(at, x.stride(0), p, numbers, tokens, heads, head_dim, transposed);
        },
        [&](auto stream) {
          cuda::rope_apply<T>(at, x.stride(0), p, numbers, tokens, heads, head_dim, transposed,
                              stream);
        },
        [&] { return touches("rope", positions, x, x); });
  });
}

}  // namespace elastron::ops
