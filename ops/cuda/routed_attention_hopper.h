// The kernels of routed attention for sm_90a, and what they take: products by warpgroups, copies by
// the copy engine, one launch of as many blocks as the GPU has multiprocessors, which take tiles
// from a queue (docs/attention-kernels.md).
#pragma once
#include <cstdint>
#include <initializer_list>

#include "core/dtype.h"
#include "ops/cuda/routed_attention.h"
#include "ops/cuda/tile_schedule.h"

namespace elastron::ops::cuda {

// Rows of a tile of queries, tokens x query heads side by side, and keys of a tile of keys.
inline constexpr int kHopperRows = 128, kHopperKeys = 128;

// bfloat16, head_dim 64 or 128, rows at 16-byte addresses. Query heads that share a tile
// (args.tile_heads()) are a power of two; chosen blocks are multiples of 128 tokens.
bool hopper_takes(DType dtype, const AttentionArgs& args, std::initializer_list<HeadsView> views);
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

}  // namespace elastron::ops::cuda
