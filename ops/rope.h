// Rotary position embedding in Hugging Face's half-split layout: for i < D/2,
//   y[i] = x[i] cos - x[i + D/2] sin,  y[i + D/2] = x[i + D/2] cos + x[i] sin,
// angle = position * inv_freq[i] (Su et al., 2021).
#pragma once
#include <optional>

#include "core/tensor.h"

namespace elastron::ops {

// Llama 3.1's stretching of long wavelengths ("rope_type": "llama3" in the transformers library):
// frequencies whose wavelength is above original / low_freq_factor are divided by `factor`, those
// below original / high_freq_factor are kept, and between the two it is interpolated.
struct Llama3RopeScaling {
  double factor = 8.0;            // >= 1
  double low_freq_factor = 1.0;   // > 0
  double high_freq_factor = 4.0;  // > low_freq_factor
  double original_max_position = 8192;
};

struct RopeRule {
  double theta = 10000.0;
  std::optional<Llama3RopeScaling> scaling;
};

// cos and sin for positions [0, max_position): [max_position, 2, head_dim / 2], `dtype` master;
// inv_freq[i] = theta^(-2 i / head_dim), i < head_dim / 2, stretched if the rule says so. In
// float32 frequencies and angles are rounded to float32 as in the code the models were trained with
// (and in the transformers library): at position 4096 that moves angles by up to 2e-4.
Tensor rope_table(int64_t head_dim, const RopeRule& rule, int64_t max_position, DType dtype,
                  Device& device);

// In place on x [tokens, heads, head_dim] (dims 1 and 2 contiguous, any token stride); positions
// [tokens] int32 < max_position. `inverse` rotates back, which is also the gradient.
void rope_apply(Tensor& x, const Tensor& positions, const Tensor& table, bool inverse);

}  // namespace elastron::ops
