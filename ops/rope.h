// Rotary position embedding in Hugging Face's half-split layout: for i < D/2,
//   y[i] = x[i] cos - x[i + D/2] sin,  y[i + D/2] = x[i + D/2] cos + x[i] sin,
// angle = position * inv_freq[i] (Su et al., 2021).
#pragma once
#include <span>

#include "core/tensor.h"

namespace elastron::ops {

// inv_freq[i] = theta^(-2 i / head_dim), i < head_dim / 2. Scalings (llama3) transform this list.
std::vector<double> rope_inverse_frequencies(int64_t head_dim, double theta);

// cos and sin for positions [0, max_position): [max_position, 2, head_dim / 2], `dtype` master.
Tensor rope_table(std::span<const double> inverse_frequencies, int64_t max_position, DType dtype,
                  Device& device);

// In place on x [tokens, heads, head_dim] (dims 1 and 2 contiguous, any token stride); positions
// [tokens] int32 < max_position. `inverse` rotates back, which is also the gradient.
void rope_apply(Tensor& x, const Tensor& positions, const Tensor& table, bool inverse);

}  // namespace elastron::ops
