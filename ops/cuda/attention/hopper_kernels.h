// The kernels of routed attention for sm_90a (kernel_choice.h says when they are used): products by
// warpgroups, copies by the copy engine, one launch of as many blocks as the GPU has
// multiprocessors, which take tiles from a queue (docs/attention-kernels.md).
#pragma once
#include "ops/cuda/attention/kernel_choice.h"
#include "ops/cuda/attention/routed_attention.h"
#include "ops/cuda/attention/tile_schedule.h"

namespace elastron::ops::cuda {

// As routed_attention_forward() (routed_attention.h), for every pair of sets. Of `tiles` the bounds
// of the sequences are read.
void hopper_attention_forward(const AttentionForwardArgs& args, const SequenceTiles& tiles,
                              Pairs pairs, Device& device, Stream stream);
// The same with a queue of another make, which holds every tile of kHopperRows /
// args.tile_heads() tokens once, and is used up.
void hopper_attention_forward(const AttentionForwardArgs& args, const SequenceTiles& tiles,
                              const TileQueue& queue, Pairs pairs, Stream stream);

// As mma_attention_gradients() (mma_kernels.h): dq, dk and dv from lse and the row dots.
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
