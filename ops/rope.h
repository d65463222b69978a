// Rotary position embedding in Hugging Face's half-split layout: for i < D/2,
//   y[i] = x[i] cos - x[i + D/2] sin,  y[i + D/2] = x[i + D/2] cos + x[i] sin,
// angle = position * inv_freq[i] (Su et al., 2021). A rule says what the frequencies are, and what
// cos and sin are multiplied by; from there on both are numbers in a table, the same for all devices
// (docs/method.md, Positions).
#pragma once
#include <optional>
#include <variant>
#include <vector>

#include "core/tensor.h"

namespace elastron::ops {

// Position interpolation (Chen et al., 2023; "linear"): every frequency is divided.
struct LinearRopeScaling {
  double factor = 1.0;  // >= 1
};

// Llama 3.1's stretching of long wavelengths ("rope_type": "llama3" in the transformers library):
// frequencies whose wavelength is above original / low_freq_factor are divided by `factor`, those
// below original / high_freq_factor are kept, and between the two it is interpolated.
struct Llama3RopeScaling {
  double factor = 8.0;            // >= 1
  double low_freq_factor = 1.0;   // > 0
  double high_freq_factor = 4.0;  // > low_freq_factor
  double original_max_position = 8192;
};

// YaRN (Peng et al., arXiv 2309.00071): frequencies that turn more than beta_fast times within the
// original length are kept, those that turn less than beta_slow times are divided by `factor`, and
// between the two it is interpolated by index.
struct YarnRopeScaling {
  double factor = 1.0;  // >= 1
  double original_max_position = 0;
  double attention_factor = 1.0;  // > 0; cos and sin are multiplied by it
  double beta_fast = 32;          // >= beta_slow
  double beta_slow = 1;           // > 0
  bool truncate = true;           // the ends of the ramp are rounded outwards to whole indices
};

// The attention factor of a model that names none: m(mscale) / m(mscale_all_dim) where it has both,
// otherwise m(1); m(s) = 0.1 s ln(factor) + 1.
double yarn_attention_factor(double factor, std::optional<double> mscale = {},
                             std::optional<double> mscale_all_dim = {});

using RopeScaling =
    std::variant<std::monostate, LinearRopeScaling, Llama3RopeScaling, YarnRopeScaling>;

struct RopeRule {
  double theta = 10000.0;  // > 0; > 1 under YaRN
  RopeScaling scaling;
};

// What a rule comes to for heads of head_dim.
struct RopeFrequencies {
  std::vector<double> inverse;  // [head_dim / 2]: theta^(-2 i / head_dim), scaled as the rule says
  double scale = 1.0;           // of cos and sin
};

// `dtype` master. In float32 every step is rounded to float32 as in the code that the models were
// trained with (and in the transformers library): at position 4096 that moves angles by up to 2e-4.
RopeFrequencies rope_frequencies(int64_t head_dim, const RopeRule& rule, DType dtype);

// scale * cos and scale * sin for positions [0, max_position): [max_position, 2, head_dim / 2],
// `dtype` master; angles are rounded to it, too.
Tensor rope_table(int64_t head_dim, const RopeRule& rule, int64_t max_position, DType dtype,
                  Device& device);

// In place on x [tokens, heads, head_dim] (dims 1 and 2 contiguous, any token stride); positions
// [tokens] int32 < max_position. `transposed` is the gradient: it turns back, and multiplies by the
// table's scale once more.
void rope_apply(Tensor& x, const Tensor& positions, const Tensor& table, bool transposed);

}  // namespace elastron::ops
