// CUDA back end of ops/routed_attention.h, plain version: no tensor cores, float32 arithmetic, any
// storage type (float or bf16), head_dim up to kMostHeadDim. It defines what faster kernels must
// give. Gates are read on the device: nothing here waits for the host.
#pragma once
#include "core/cuda/stream.h"
#include "ops/attention/args.h"

namespace elastron::ops::cuda {

using elastron::cuda::Stream;

inline constexpr int64_t kMostHeadDim = 128;

// Where the query tiles and key tiles of each sequence begin in the grid, on the device.
struct SequenceTiles {
  const int32_t* cu_seqlens = nullptr;   // [sequences + 1] tokens
  const int32_t* query_tiles = nullptr;  // [sequences + 1] tiles of tile_tokens(group) tokens
  const int32_t* key_tiles = nullptr;    // [sequences + 1] tiles of kKeysPerTile keys
  int32_t all_query_tiles = 0, all_key_tiles = 0;
};
inline constexpr int64_t kKeysPerTile = 32;

// args.varlen is read for the number of sequences only.
template <class T>
void routed_attention_forward(const AttentionForwardArgs& args, const SequenceTiles& tiles,
                              Stream stream);
// gaps [tokens, q_heads] float: scratch for the gate's gradient; null without it.
template <class T>
void routed_attention_backward(const AttentionBackwardArgs& args, const SequenceTiles& tiles,
                               float* gaps, Stream stream);

}  // namespace elastron::ops::cuda
