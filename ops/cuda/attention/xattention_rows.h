// The parts that XAttention's kernels share: the list of work, the scratch of a block of threads,
// and how the blocks of a row are chosen once its scores are there. Device code, and the host's way
// to start it.
//
// A block of threads takes whole query blocks of one query head, scores their groups tile by tile
// against all groups of keys that they see, and keeps a maximum and a sum per (query group, key
// block) in scratch memory of its own. There are only as many blocks of threads as run at once:
// scratch is linear in the longest sequence. Then one warp chooses for each query block.
#pragma once
#include <algorithm>
#include <limits>
#include <vector>

#include "core/cuda/launch.h"
#include "ops/backend.h"
#include "ops/cuda/attention/choice_bits.h"
#include "ops/cuda/attention/xattention.h"
#include "ops/cuda/attention/xattention_work.h"
#include "ops/cuda/primitives.h"
#include "ops/detail/xattention_math.h"

namespace elastron::ops::cuda {

using namespace elastron::cuda;

struct ChoiceProblem {
  const RowTile* tiles;
  int32_t count;  // tiles times query heads
  int32_t* next;  // 0 before the launch
  const uint8_t* gate;
  ChoiceFor whose;
  int32_t q_heads, group, head_dim;
  int64_t q_stride, k_stride;         // elements from token to token
  int32_t stride, block, each, rows;  // each: groups of a block; rows: groups taken at once
  float factor;
  double threshold;
  int64_t lagging;  // tokens
  uint32_t *row_bits, *column_bits;
  int64_t mask_words;
  std::byte* scratch;
  int32_t pitch;          // blocks of the longest sequence
  int64_t scratch_bytes;  // of a block of threads
};

// The work that a block of threads has taken: query groups [first, past) of a head.
struct ChoiceRows {
  RowTile tile;
  int32_t head, kv_head, first, past;
};

// Scratch of this block of threads: choice_scratch_bytes().
struct ChoiceScratch {
  BlockSum* sums;     // [rows, pitch]
  BlockSum* weights;  // [rows]: the row's largest score, and one over its sum
  int64_t* units;     // [warps, pitch]

  __device__ explicit ChoiceScratch(const ChoiceProblem& p)
      : sums(reinterpret_cast<BlockSum*>(p.scratch + int64_t(blockIdx.x) * p.scratch_bytes)),
        weights(sums + int64_t(p.rows) * p.pitch),
        units(reinterpret_cast<int64_t*>(weights + p.rows)) {}
};

// The next rows, the same for the whole block of threads; false when there are none. `ticket` is in
// shared memory.
__device__ __forceinline__ bool take_rows(const ChoiceProblem& p, int32_t* ticket,
                                          ChoiceRows& rows) {
  while (true) {
    __syncthreads();  // the last ticket has been read, and whatever the last rows left behind
    if (threadIdx.x == 0) *ticket = atomicAdd(p.next, 1);
    __syncthreads();
    const int32_t i = *ticket;
    if (i >= p.count) return false;
    const int32_t head = i % p.q_heads, kv_head = head / p.group;
    const RowTile tile = p.tiles[i / p.q_heads];
    const bool open = p.gate[int64_t(tile.sequence) * (p.q_heads / p.group) + kv_head] != 0;
    if (!is_wanted(p.whose, open)) continue;
    const auto groups = int32_t(detail::groups_of(tile.length, p.stride));
    const int32_t past = tile.first + p.rows < groups ? tile.first + p.rows : groups;
    rows = {tile, head, kv_head, tile.first, past};
    return true;
  }
}

// --- Masses, by one warp -------------------------------------------------------------------------

// Weights of the query groups [from, past), which all see the key blocks up to `own`.
__device__ __forceinline__ void weigh_rows(const ChoiceProblem& p, const ChoiceScratch& scratch,
                                           int32_t from, int32_t past, int32_t own) {
  constexpr int kAtOnce = 8;  // independent loads
  const int lane = int(threadIdx.x) % kWarp;
  for (int32_t begin = from; begin < past; begin += kAtOnce) {
    const BlockSum* row[kAtOnce];
    float most[kAtOnce], total[kAtOnce];
#pragma unroll
    for (int r = 0; r < kAtOnce; ++r) {
      row[r] = scratch.sums + int64_t(begin + r < past ? begin + r : past - 1) * p.pitch;
      most[r] = -std::numeric_limits<float>::infinity();
      total[r] = 0;
    }
    for (int32_t j = lane; j <= own; j += kWarp) {
#pragma unroll
      for (int r = 0; r < kAtOnce; ++r) most[r] = fmaxf(most[r], row[r][j].most);
    }
#pragma unroll
    for (int r = 0; r < kAtOnce; ++r) most[r] = warp_max(most[r]);
    for (int32_t j = lane; j <= own; j += kWarp) {
#pragma unroll
      for (int r = 0; r < kAtOnce; ++r) {
        const BlockSum s = row[r][j];
        total[r] += exp2f(s.most - most[r]) * s.total;
      }
    }
#pragma unroll
    for (int r = 0; r < kAtOnce; ++r) {
      const float sum = warp_sum(total[r]);
      if (lane == 0 && begin + r < past) scratch.weights[begin + r] = {most[r], 1.0f / sum};
    }
  }
  __syncwarp();
}

// units [own + 1] = masses of the key blocks, summed over the query groups in their order.
__device__ __forceinline__ void sum_masses(const ChoiceProblem& p, const ChoiceScratch& scratch,
                                           int32_t from, int32_t past, int32_t own,
                                           int64_t* units) {
  for (int32_t j = int32_t(threadIdx.x) % kWarp; j <= own; j += kWarp) {
    float mass = 0;
#pragma unroll 8
    for (int32_t r = from; r < past; ++r) {
      const BlockSum s = scratch.sums[int64_t(r) * p.pitch + j], weight = scratch.weights[r];
      mass += s.total * exp2f(s.most - weight.most) * weight.total;
    }
    units[j] = detail::mass_units(double(mass));
  }
  __syncwarp();
}

// --- The choice, by one warp ---------------------------------------------------------------------

// Chosen are the masses above `value` and, in their order, the first `equals` of those that are it.
struct MassCut {
  int64_t value, equals;
};

inline constexpr int kDigitBits = 8, kDigits = 1 << kDigitBits;
// Sums of masses by digit, of a warp, in shared memory: in two words, as it adds up 32 bits in one
// instruction and 64 in a loop. Masses of a row are at most `each` times 2^32 together.
struct MassBins {
  static constexpr int kLowBits = 14, kMostBlocks = 1 << (32 - kLowBits), kMostEach = 1 << 14;
  uint32_t low[kDigits], high[kDigits];

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int i = int(threadIdx.x) % kWarp; i < kDigits; i += kWarp) low[i] = high[i] = 0;
  }
  __device__ __forceinline__ void add(int digit, int64_t mass) {
    atomicAdd(&low[digit], uint32_t(mass) & ((1u << kLowBits) - 1u));
    atomicAdd(&high[digit], uint32_t(mass >> kLowBits));
  }
  __device__ __forceinline__ int64_t sum(int digit) const {
    return (int64_t(high[digit]) << kLowBits) + low[digit];
  }
};

// The cut that holds at least `missing` with the fewest and largest of the masses [begin, end):
// digit by digit from the top, with the sum of the masses of each digit.
__device__ __forceinline__ MassCut find_cut(const int64_t* units, int32_t begin, int32_t end,
                                            int64_t missing, MassBins& bins) {
  constexpr int kEach = kDigits / kWarp;
  const int lane = int(threadIdx.x) % kWarp;
  int64_t most = 0, all = 0;
  for (int32_t j = begin + lane; j < end; j += kWarp) {
    most = units[j] > most ? units[j] : most;
    all += units[j];
  }
  most = warp_max(most);
  all = warp_sum(all);
  if (missing <= 0) return {most, 0};
  if (all < missing) return {-1, 0};
  int shift = 0;
  while ((most >> shift) >= kDigits) shift += kDigitBits;
  int64_t value = 0;
  for (; shift >= 0; shift -= kDigitBits) {
    bins.clear();
    __syncwarp();
    for (int32_t j = begin + lane; j < end; j += kWarp) {
      const int64_t mass = units[j];
      if ((mass >> shift >> kDigitBits) != (value >> shift >> kDigitBits)) continue;
      const auto digit = int(mass >> shift) & (kDigits - 1);
      // Digit 0, that of most masses, is what remains if the others do not hold enough.
      if (digit != 0) bins.add(digit, mass);
    }
    __syncwarp();
    int64_t own = 0;
#pragma unroll
    for (int i = 0; i < kEach; ++i) own += bins.sum(lane * kEach + i);
    int64_t from_here = own;  // of this lane's digits and all larger ones
#pragma unroll
    for (int lanes = 1; lanes < kWarp; lanes *= 2) {
      const int64_t above = __shfl_down_sync(kAllLanes, from_here, unsigned(lanes));
      if (lane + lanes < kWarp) from_here += above;
    }
    int64_t above = from_here - own;
    int digit = 0;
    const bool here = above < missing && from_here >= missing;
    if (here) {
      digit = lane * kEach + kEach - 1;
      while (above + bins.sum(digit) < missing) above += bins.sum(digit--);
    }
    const unsigned found = __ballot_sync(kAllLanes, here);
    const int64_t larger = __shfl_sync(kAllLanes, from_here, 0);  // all but digit 0
    const int source = __popc((found & (0u - found)) - 1u) % kWarp;
    digit = __shfl_sync(kAllLanes, digit, source);
    above = __shfl_sync(kAllLanes, above, source);
    missing -= found != 0 ? above : larger;
    value |= int64_t(found != 0 ? digit : 0) << shift;
    __syncwarp();
  }
  return {value, (missing + value - 1) / value};
}

// One more, the next in the order.
__device__ __forceinline__ MassCut one_more(const int64_t* units, int32_t begin, int32_t end,
                                            const MassCut& cut) {
  int64_t equals = 0, below = -1;
  for (int32_t j = begin + int32_t(threadIdx.x) % kWarp; j < end; j += kWarp) {
    if (units[j] == cut.value) ++equals;
    if (units[j] < cut.value && units[j] > below) below = units[j];
  }
  equals = warp_sum(equals);
  below = warp_max(below);
  if (cut.equals < equals) return {cut.value, cut.equals + 1};
  return below < 0 ? cut : MassCut{below, 1};
}

// The bits of a query block.
__device__ __forceinline__ void write_bits(const ChoiceProblem& p, const ChoiceRows& rows,
                                           const int64_t* units, int32_t begin, int32_t own,
                                           const MassCut& cut) {
  EqualRank rank;
  write_row_bits(MaskPlace(p.row_bits, p.column_bits, rows.head, p.mask_words, rows.tile.words,
                           rows.tile.length, rows.tile.offset, p.block),
                 own - rows.tile.offset / p.block, own, [&](int32_t j) {
                   const bool candidate = j >= begin && j < own;
                   const int64_t mass = candidate ? units[j] : -1;
                   const bool equal = candidate && mass == cut.value;
                   const bool first = rank.of(equal) < cut.equals;
                   return j == 0 || j == own ||
                          (candidate && (mass > cut.value || (equal && first)));
                 });
}

// Chooses for the query blocks of `rows`, whose sums are there (behind a barrier).
template <int kWarps>
__device__ __forceinline__ void choose_rows(const ChoiceProblem& p, const ChoiceRows& rows,
                                            const ChoiceScratch& scratch, MassBins& bins) {
  const int warp = int(threadIdx.x) / kWarp;
  int64_t* units = scratch.units + int64_t(warp) * p.pitch;
  for (int32_t own = rows.first / p.each + warp; own * p.each < rows.past; own += kWarps) {
    const int32_t from = own * p.each - rows.first;
    const int32_t end = rows.past - rows.first;
    const int32_t past = from + p.each < end ? from + p.each : end;
    weigh_rows(p, scratch, from, past, own);
    sum_masses(p, scratch, from, past, own, units);
    // The rules of select_blocks (ops/cpu/xattention_select.h). The published code's sum lacks one
    // block: as many as without that, and one more.
    const bool lagging = int64_t(own) * p.block < p.lagging;
    const int32_t begin = lagging ? 0 : 1;
    const int64_t need = detail::needed_units(p.threshold, past - from);
    const int64_t held = units[own] + (lagging || own == 0 ? 0 : units[0]);
    MassCut cut = find_cut(units, begin, own, need - held, bins);
    if (lagging && need > 0) cut = one_more(units, begin, own, cut);
    write_bits(p, rows, units, begin, own, cut);
    __syncwarp();
  }
}

// --- The launch ----------------------------------------------------------------------------------

// kernel(ChoiceProblem, const T* q, const T* k), of `of`'s tiles and threads.
template <class T>
void launch_choice(const char* name, void (*kernel)(ChoiceProblem, const T*, const T*),
                   const ChoiceKernel& of, size_t shared_bytes, const XAttentionArgs& args,
                   Device& device, Stream stream) {
  const XAttentionRule& rule = args.rule;
  const int64_t each = args.groups_of_block();
  const auto [tiles, count, rows, pitch, scratch_bytes] = choice_work(args, of);
  if (count == 0) return;
  ELASTRON_CHECK(count <= std::numeric_limits<int32_t>::max(), "too many rows of XAttention");
  const Tensor list = on_device(std::span<const RowTile>(tiles), device);
  auto* there = static_cast<RowTile*>(list.raw());

  const LaunchShape shape = persistent(name, kernel, of.threads, shared_bytes, count);
  ELASTRON_CHECK(pitch < MassBins::kMostBlocks && each < MassBins::kMostEach,
                 "choose_blocks: too many blocks of a sequence, or groups of a block");
  const Tensor scratch = Tensor::empty({int64_t(shape.grid.x) * scratch_bytes}, DType::u8, device);
  const ChoiceProblem problem{.tiles = there,
                              .count = int32_t(count),
                              .next = &there[tiles.size() - 1].sequence,
                              .gate = args.gate,
                              .whose = args.whose,
                              .q_heads = int32_t(args.shape.q_heads),
                              .group = int32_t(args.shape.group()),
                              .head_dim = int32_t(args.shape.head_dim),
                              .q_stride = args.q.token_stride,
                              .k_stride = args.k.token_stride,
                              .stride = int32_t(rule.stride),
                              .block = int32_t(rule.block),
                              .each = int32_t(each),
                              .rows = int32_t(rows),
                              .factor = float(detail::score_factor(args.scale, rule.stride)),
                              .threshold = rule.threshold,
                              .lagging = args.lagging_tokens(),
                              .row_bits = args.rows,
                              .column_bits = args.columns,
                              .mask_words = args.starts.back(),
                              .scratch = static_cast<std::byte*>(scratch.raw()),
                              .pitch = int32_t(pitch),
                              .scratch_bytes = scratch_bytes};
  launch(name, kernel, shape, stream, problem, static_cast<const T*>(args.q.data),
         static_cast<const T*>(args.k.data));
}

}  // namespace elastron::ops::cuda
