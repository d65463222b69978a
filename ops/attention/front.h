// Checks and views that the fronts of the attention ops share.
#pragma once
#include <string>

#include "core/dispatch.h"
#include "core/tensor.h"
#include "ops/attention/args.h"
#include "ops/check.h"

namespace elastron::ops {

// Dims 1 and 2 are contiguous; any stride between tokens.
inline HeadsView heads_view(const Tensor& t, int64_t tokens, int64_t heads, int64_t head_dim,
                            DType dtype, const char* op) {
  check_shape(t, Shape{tokens, heads, head_dim}, op);
  ELASTRON_CHECK(t.dtype() == dtype, std::string(op) + ": q, k, v and d_out must have one dtype");
  ELASTRON_CHECK((head_dim == 1 || t.stride(2) == 1) && (heads == 1 || t.stride(1) == head_dim),
                 std::string(op) + ": the heads of a token must be contiguous");
  return {t.raw(), t.stride(0)};
}

// Blocks of a part of a sequence are those of the whole: it begins with one, and ends
// with one unless the whole ends there.
inline void check_block_offsets(const Varlen& varlen, int64_t block, const char* op) {
  ELASTRON_CHECK(block >= 1, std::string(op) + ": a block has tokens");
  for (int64_t s = 0; s < varlen.sequences(); ++s) {
    if (varlen.length(s) == 0) continue;
    ELASTRON_CHECK(varlen.offset(s) % block == 0,
                   std::string(op) + ": with chosen blocks a sequence begins at a multiple of " +
                       std::to_string(block) + " tokens, a block");
    ELASTRON_CHECK(
        varlen.key_length(s) == varlen.whole_length(s) || varlen.key_length(s) % block == 0,
        std::string(op) + ": with chosen blocks a part of a sequence ends with a block of " +
            std::to_string(block) + " tokens");
  }
}

// Scratch comes from the device's cache: a steady step makes no call to the system.
inline Tensor workspace_for(int threads, size_t bytes_each, Device& device) {
  return Tensor::empty(Shape{threads, int64_t(bytes_each)}, DType::u8, device);
}

// The GPU's kernels take the types that models are stored in.
template <class F>
void with_device_dtype(DType dtype, F&& f) {
  if (dtype == DType::f32) return f.template operator()<float>();
  ELASTRON_CHECK(dtype == DType::bf16, "attention on the GPU takes float32 or bfloat16");
  f.template operator()<bf16>();
}

}  // namespace elastron::ops
