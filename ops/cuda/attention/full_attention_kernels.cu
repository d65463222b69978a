#include "ops/cuda/attention/full_attention_kernels.h"
#include "ops/cuda/attention/geometry.h"

namespace elastron::ops::cuda {

using namespace elastron::cuda;

namespace {

constexpr int kThreads = 256;

__global__ void pair_lengths_kernel(const uint8_t* gate, const int32_t* of, const int32_t* all,
                                    int64_t n, int64_t kv_heads, int64_t parts, int32_t* lengths) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= parts * kv_heads * n) return;
  const int64_t part = i / (kv_heads * n), head = i / n % kv_heads, sequence = i % n;
  const bool open = gate[int64_t(of[sequence]) * kv_heads + head] != 0;
  lengths[i] = open ? all[part * n + sequence] : 1;
}

// A thread has 8 elements of a row.
__global__ void swap_closed_pairs_kernel(const uint8_t* gate, const int32_t* cu_seqlens,
                                         int32_t sequences, int64_t tokens, int64_t q_heads,
                                         int64_t kv_heads, int64_t parts, Pack<bf16, 8>* a,
                                         Pack<bf16, 8>* b, float* lse_a, float* lse_b) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= tokens * q_heads * parts) return;
  const int64_t row = i / parts, token = row / q_heads;
  const int64_t kv_head = row % q_heads / (q_heads / kv_heads);
  if (gate[int64_t(sequence_of(cu_seqlens, sequences, token)) * kv_heads + kv_head] != 0) return;
  const Pack<bf16, 8> kept = a[i];
  a[i] = b[i];
  b[i] = kept;
  if (i % parts != 0) return;
  const float kept_lse = lse_a[row];
  lse_a[row] = lse_b[row];
  lse_b[row] = kept_lse;
}

}  // namespace

void pair_lengths(const uint8_t* gate, const int32_t* of, const int32_t* all, int64_t n,
                  int64_t kv_heads, int64_t parts, int32_t* lengths, Stream stream) {
  launch("pair_lengths", pair_lengths_kernel, over_items(parts * kv_heads * n, kThreads), stream,
         gate, of, all, n, kv_heads, parts, lengths);
}

void swap_closed_pairs(const uint8_t* gate, const int32_t* cu_seqlens, int64_t sequences,
                       int64_t tokens, int64_t q_heads, int64_t kv_heads, int64_t head_dim, bf16* a,
                       bf16* b, float* lse_a, float* lse_b, Stream stream) {
  const int64_t parts = head_dim / 8;
  launch("swap_closed_pairs", swap_closed_pairs_kernel,
         over_items(tokens * q_heads * parts, kThreads), stream, gate, cu_seqlens,
         int32_t(sequences), tokens, q_heads, kv_heads, parts, reinterpret_cast<Pack<bf16, 8>*>(a),
         reinterpret_cast<Pack<bf16, 8>*>(b), lse_a, lse_b);
}

}  // namespace elastron::ops::cuda
