// Scales of a quantised weight, for plain loops on either device.
#pragma once
#include "core/host_device.h"
#include "core/weight_scale.h"

namespace elastron::ops::detail {

// How matrices lie in a stack, and their scales: from a row to the next, and from a matrix to the
// next.
struct StackView {
  int64_t stride, values, scales;
};

struct ScaleView {
  const float* values;
  int64_t blocks;  // of a row
  int64_t out_block, in_block, out_offset, in_offset;

  explicit ScaleView(const WeightScale& s)
      : values(s.values.data<float>()),
        blocks(s.values.size(s.values.rank() - 1)),
        out_block(s.out_block),
        in_block(s.in_block),
        out_offset(s.out_offset),
        in_offset(s.in_offset) {}
  // Those of row r, by block.
  ELASTRON_HD const float* row(int64_t r) const {
    return values + (out_offset + r) / out_block * blocks;
  }
  // Of column c; and where the next one begins.
  ELASTRON_HD int64_t block_of(int64_t c) const { return (in_offset + c) / in_block; }
  ELASTRON_HD int64_t end_of(int64_t c) const { return (block_of(c) + 1) * in_block - in_offset; }
};

}  // namespace elastron::ops::detail
