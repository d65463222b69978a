// The kernels of routed attention for sm_90a, and what they take: products by warpgroups, copies by
// the copy engine, one launch of as many blocks as the GPU has multiprocessors, which take tiles
// from a queue (docs/attention-kernels.md).
#pragma once
#include <cstdint>
#include <initializer_list>

#include "core/dtype.h"
#include "ops/cuda/routed_attention.h"
#include "ops/cuda/routed_attention_mma.h"
#include "ops/cuda/tile_schedule.h"

namespace elastron::ops::cuda {

// Rows of a tile of queries, tokens x query heads side by side, and keys of a tile of keys.
inline constexpr int kHopperRows = 128, kHopperKeys = 128;
// Backward one side of a block's tiles is 64: keys that rows of queries go through, and rows that
// keys go through.
inline constexpr int kHopperGradientRows = 64, kHopperGradientKeys = 64;

// bfloat16, head_dim 64 or 128, rows at 16-byte addresses. Query heads that share a tile
// (args.tile_heads()) are a power of two; chosen blocks are multiples of 128 tokens.
inline bool hopper_takes(DType dtype, const AttentionArgs& args,
                         std::initializer_list<HeadsView> views) {
  const int64_t dim = args.shape.head_dim, heads = args.tile_heads();
  if (dtype != DType::bf16 || (dim != 64 && dim != 128)) return false;
  if ((heads & (heads - 1)) != 0 || heads > kHopperRows) return false;
  if (has_blocks(args.mode) && args.choice.block % kHopperKeys != 0) return false;
  return aligned_rows(views);
}
// The same for the gradients; at most 64 query heads share a tile.
inline bool hopper_takes_gradients(DType dtype, const AttentionBackwardArgs& args) {
  return args.tile_heads() <= kHopperGradientRows &&
         hopper_takes(dtype, args, {args.q, args.k, args.v, args.d_out});
}
// The current device is of compute capability 9.x, its driver knows tensor maps, and the kernels
// are in this build.
bool hopper_runs();

// As routed_attention_forward() (routed_attention.h), in every mode. Of `tiles` the bounds of the
// sequences are read.
void hopper_attention_forward(const AttentionForwardArgs& args, const SequenceTiles& tiles,
                              Pairs pairs, Device& device, Stream stream);
// The same with a queue of another make, which holds every tile of kHopperRows /
// args.tile_heads() tokens once, and is used up.
void hopper_attention_forward(const AttentionForwardArgs& args, const SequenceTiles& tiles,
                              const TileQueue& queue, Pairs pairs, Stream stream);

// As mma_attention_gradients() (routed_attention_mma.h): dq, dk and dv from lse and the row dots.
// The same bits on every run.
void hopper_attention_gradients(const AttentionBackwardArgs& args, const SequenceTiles& tiles,
                                Pairs pairs, Device& device, Stream stream);
// Its two kernels. The queue of dq holds tiles of kHopperRows rows, that of dk and dv tiles of
// kHopperKeys keys seen by tiles of kHopperGradientRows rows; both are used up.
void hopper_attention_dq(const AttentionBackwardArgs& args, const SequenceTiles& tiles,
                         const TileQueue& queue, Pairs pairs, Stream stream);
void hopper_attention_dkv(const AttentionBackwardArgs& args, const SequenceTiles& tiles,
                          const KeyTileQueue& queue, Pairs pairs, Device& device, Stream stream);

}  // namespace elastron::ops::cuda
