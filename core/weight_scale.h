// The scales of a quantised weight [out, in]: one number per block of out_block x in_block values,
// as published FP8 folders store them (weight_scale_inv; blocks of 128 x 128), or one per row
// (blocks of 1 x in). The weight is values times scale.
#pragma once
#include <optional>

#include "core/ceil_div.h"
#include "core/tensor.h"

namespace elastron {

// Values that share a scale.
struct WeightBlocks {
  int64_t out = 128, in = 128;
};

// How a weight is kept: that dtype, and a scale for each block.
struct WeightStorage {
  DType dtype;
  std::optional<WeightBlocks> blocks;

  // Implicit: what is kept as it is has no scales.
  WeightStorage(DType kept_in, std::optional<WeightBlocks> scaled_by = {})
      : dtype(kept_in), blocks(scaled_by) {}
};

struct WeightScale {
  Tensor values;  // shape() below, float32; undefined: all are 1
  int64_t out_block = 1, in_block = 1;
  // A part of a larger weight has that one's blocks: how many rows and columns of the first block
  // lie before the part.
  int64_t out_offset = 0, in_offset = 0;

  bool defined() const { return values.defined(); }
  // Of `values`, for a weight of this shape.
  static Shape shape(int64_t out, int64_t in, int64_t out_block, int64_t in_block,
                     int64_t out_offset = 0, int64_t in_offset = 0) {
    return {ceil_div(out_offset + out, out_block), ceil_div(in_offset + in, in_block)};
  }
  Shape shape_for(int64_t out, int64_t in) const {
    return shape(out, in, out_block, in_block, out_offset, in_offset);
  }
};

}  // namespace elastron
