// Full causal attention of packed sequences by cuDNN's graph API, bfloat16, forward with statistics
// and backward. A sequence's tokens are its keys, or the last of its keys. One call is for all of a tensor's heads or for some that lie side by side: pointers
// are those of the first head. Found when the program runs, as NCCL is; $ELASTRON_CUDNN_LIBRARY
// names another file than libcudnn.so.9.
#pragma once
#include <cstdint>
#include <string>

#include "core/cuda/stream.h"
#include "core/device.h"

namespace elastron::ops::cuda {

using elastron::cuda::Stream;

// Sizes as in LibraryBatch. Strides in elements, from token to token; heads of a token lie side by
// side.
struct FullAttentionShape {
  int64_t sequences = 0, longest = 0;  // with dummies: none is empty
  int64_t tokens = 0;                  // backward only
  int64_t longest_keys = 0, keys = 0;  // zeros: keys are the tokens; `keys` backward only
  int64_t q_heads = 0, kv_heads = 0, head_dim = 0;
  double scale = 0;
  bool backward = false;
  int64_t q_stride = 0, k_stride = 0, v_stride = 0, out_stride = 0, lse_stride = 0;
  int64_t d_out_stride = 0;  // backward; dq, dk and dv are contiguous
  bool own_keys() const { return longest_keys > 0; }
  bool operator==(const FullAttentionShape&) const = default;
};

// Where each sequence begins in it, in elements: [sequences + 1], on the device. Multiples of its
// token stride.
struct PackedHeads {
  const void* data = nullptr;
  const int64_t* starts = nullptr;
};

struct FullAttentionTensors {
  // [sequences], on the device, 1 or more: a sequence may end before the next one starts, and what
  // is between is not read.
  const int32_t* lengths = nullptr;
  const int32_t* key_lengths = nullptr;  // the same; not less than lengths
  PackedHeads q, k, v;
  PackedHeads out, lse;           // forward: written; lse float32, natural log
  PackedHeads d_out, dq, dk, dv;  // backward; rows behind a sequence's end are undefined
};

class FullAttentionPlan {
 public:
  virtual ~FullAttentionPlan() = default;
  virtual int64_t workspace_bytes() const = 0;
  // Issued on `stream`; workspace 256-byte aligned.
  virtual void run(const FullAttentionTensors& tensors, void* workspace, Stream stream) = 0;
};

// Kept by the device, and made when it is first asked for, which takes seconds; null where cuDNN is
// not there or has no kernel for it. Forward, all sizes of a shape share the compiled kernels.
FullAttentionPlan* full_attention_plan(Device& device, const FullAttentionShape& shape);

// Whether there will be one, at once; if not, `why`.
bool full_attention_supported(Device& device, const FullAttentionShape& shape, std::string& why);

// "cuDNN 9.19.0", or nothing, and then `why`.
std::string full_attention_library(Device& device, std::string& why);

// What the plan of a rounded shape asks for; for the memory plan of a run, where no device is
// asked.
inline int64_t full_attention_workspace(const FullAttentionShape& shape) {
  if (!shape.backward) return 0;
  // dq is summed in float32, dk and dv per query head where several share a kv head, and each
  // row's <dO, O> is kept.
  const int64_t row = shape.q_heads * shape.head_dim * int64_t(sizeof(float));
  const int64_t keys = shape.own_keys() ? shape.keys : shape.tokens;
  return shape.tokens * (row + shape.lse_stride * int64_t(sizeof(float))) +
         (shape.q_heads == shape.kv_heads ? 0 : 2 * keys * row);
}

}  // namespace elastron::ops::cuda
