// Key tiles whose queries are cut into parts (tile_schedule.h): the parts' sums, and what adds them
// up. Device code, and its launch.
#pragma once
#include "core/cuda/launch.h"
#include "core/tensor.h"
#include "ops/cuda/attention/geometry.h"

namespace elastron::ops::cuda {

// A part of a key tile, before it is added to the others: dk without its scale, dv.
template <int kKeys, int kWidth>
struct KeyPiece {
  float dk[kKeys][kWidth], dv[kKeys][kWidth];
};

// Row `half` (g or g + 8) of a thread's sums (tensor_core.h).
template <int kBlocks>
__device__ __forceinline__ void keep_row(const float (&sums)[kBlocks][4], int half, float* row) {
  const int column = int(threadIdx.x) % 4 * 2;
#pragma unroll
  for (int n = 0; n < kBlocks; ++n) {
    *reinterpret_cast<float2*>(row + n * 8 + column) =
        make_float2(sums[n][2 * half], sums[n][2 * half + 1]);
  }
}

inline constexpr int kAddPartsThreads = 128;

// The parts of a key tile, in order. A block per piece, of which those of a first part do it.
template <int kKeys, int kWidth>
__global__ void __launch_bounds__(kAddPartsThreads)
    add_parts_kernel(Geometry g, KeyTileQueue queue, const KeyPiece<kKeys, kWidth>* pieces,
                     bf16* dk, bf16* dv) {
  const auto piece = int32_t(blockIdx.x);
  ScheduledTile at{};
  at.sequence = sequence_of(queue.pieces, g.sequences, piece / g.kv_heads);
  const Place place = place_of(g, at.sequence);
  const KeySplit split = queue.split.of(key_tiles_of<kKeys>(place), query_tiles_of(g, place));
  const int32_t within = piece - queue.pieces[at.sequence] * g.kv_heads;
  at.head = within / (split.tiles * split.parts) * g.group;
  at.tile = within % (split.tiles * split.parts);
  const KeyItem item = key_item_at<kKeys>(g, queue, at);
  if (item.part != 0 || item.piece < 0) return;
  if (g.closed_only && is_open(g, at.sequence, item.kv_head)) return;
  for (int i = int(threadIdx.x); i < (item.end - item.begin) * g.head_dim; i += kAddPartsThreads) {
    const int row = i / g.head_dim, column = i % g.head_dim;
    float dk_sum = 0, dv_sum = 0;
    for (int part = 0; part < split.parts; ++part) {
      dk_sum += pieces[piece + part].dk[row][column];
      dv_sum += pieces[piece + part].dv[row][column];
    }
    const int64_t to =
        (int64_t(place.first_key + item.begin + row) * g.kv_heads + item.kv_head) * g.head_dim +
        column;
    dk[to] = bf16(dk_sum * (g.scale_log2 * kLn2));
    dv[to] = bf16(dv_sum);
  }
}

// Has `work` leave the sums of parts in the pieces that it is given, then adds them up.
template <int kKeys, int kWidth, class F>
void with_key_pieces(const Geometry& g, const KeyTileQueue& queue, bf16* dk, bf16* dv,
                     Device& device, Stream stream, F&& work) {
  using Piece = KeyPiece<kKeys, kWidth>;
  const int64_t count = queue.all_pieces;
  const Tensor memory = Tensor::empty({count * int64_t(sizeof(Piece))}, DType::u8, device);
  auto* pieces = static_cast<Piece*>(memory.raw());
  work(pieces);
  elastron::cuda::launch("attention_add_parts", add_parts_kernel<kKeys, kWidth>,
                         {dim3(unsigned(count)), dim3(kAddPartsThreads)}, stream, g, queue, pieces,
                         dk, dv);
}

}  // namespace elastron::ops::cuda
