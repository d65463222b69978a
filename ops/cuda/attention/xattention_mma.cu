// Scores on tensor cores: a product of query groups and key groups over stride * head_dim numbers,
// which are read where they stand. Eight warps have 64 x 64 scores each of a tile of 128 query
// groups and 256 key groups; operands arrive in the background, three steps of 32 ahead, into the
// next tile too.
#include "ops/cuda/attention/xattention_rows.h"
#include "ops/cuda/tensor_core.h"

namespace elastron::ops::cuda {

namespace {

constexpr int kThreads = kMmaChoiceKernel.threads, kWarps = kThreads / kWarp;
constexpr int kRows = int(kMmaChoiceKernel.tile), kKeys = 256, kWarpTile = 64,
              kKeyWarps = kKeys / kWarpTile;
static_assert(kWarps == kRows / kWarpTile * kKeyWarps);
constexpr int kDepth = 32, kStages = 4;
// Rows of shared memory are padded by 16 bytes: an odd number of these (mma_tiles.h).
constexpr int kPitch = kDepth + 8;
constexpr int kPieces = kDepth / 8;  // of 16 bytes, of a row
// A warp hands its scores over 16 rows at a time. Rows of 17 float4: reading them has no conflicts.
constexpr int kSlice = 16, kScorePitch = kWarpTile + 4;

struct Stage {
  bf16 queries[kRows * kPitch], keys[kKeys * kPitch];
};
struct Memory {
  Stage stages[kStages];
  union OfWarp {
    float scores[kSlice * kScorePitch];
    MassBins bins;
  } of_warp[kWarps];
  int32_t ticket;
};
static_assert(sizeof(MassBins) <= sizeof(float) * kSlice * kScorePitch);

// Walks over the steps of all tiles of some rows. A thread copies the same 16 bytes of every 64th
// group: number `column` of the token that is `offset` from one end of the group.
class Loader {
 public:
  __device__ Loader(const ChoiceProblem& p, const ChoiceRows& rows, const bf16* q, const bf16* k)
      : stride_(p.stride),
        head_dim_(p.head_dim),
        first_query_(rows.first),
        queries_{q + rows.head * p.head_dim, p.q_stride, rows.tile.first_token, rows.tile.length},
        keys_{k + rows.kv_head * p.head_dim, p.k_stride, rows.tile.first_key,
              rows.past * p.stride < rows.tile.length ? rows.past * p.stride : rows.tile.length} {
    begin_tile();
  }

  __device__ __forceinline__ void next(Stage& stage) {
    const int at = int(threadIdx.x) / kPieces * kPitch + int(threadIdx.x) % kPieces * 8;
    const int32_t apart = kApart * stride_;
    const bool inside = offset_ < stride_;  // or behind the last number
    queries_.copy<kRows>(stage.queries + at, apart, inside);
    keys_.copy<kKeys>(stage.keys + at, apart, inside);
    depth_ += kDepth;
    if (depth_ >= stride_ * head_dim_) {
      key_ += kKeys;
      begin_tile();
    } else {
      column_ += kDepth;
      queries_.at += kDepth;
      keys_.at += kDepth;
      carry();
    }
  }

 private:
  static constexpr int kApart = kThreads / kPieces;

  struct Source {
    const bf16* data;
    int64_t token_stride;
    int32_t first;      // where token 0 of the sequence stands
    int32_t end;        // tokens behind it are zeros
    int32_t token = 0;  // of the first group that the thread copies
    int64_t at = 0;     // where its number stands

    __device__ __forceinline__ void begin(int32_t of_token, int32_t column) {
      token = of_token;
      at = (first + token) * token_stride + column;
    }
    template <int kGroups>
    __device__ __forceinline__ void copy(bf16* to, int32_t apart, bool inside) const {
      const int64_t apart_there = apart * token_stride;
#pragma unroll
      for (int i = 0; i < kGroups / kApart; ++i) {
        const bool valid = inside && token + i * apart < end;
        cp_async_16(to + i * kApart * kPitch, data + (valid ? at + i * apart_there : 0), valid);
      }
    }
  };

  __device__ __forceinline__ void begin_tile() {
    const int group = int(threadIdx.x) / kPieces;
    depth_ = offset_ = 0;
    column_ = int32_t(threadIdx.x) % kPieces * 8;
    queries_.begin((first_query_ + group + 1) * stride_ - 1, column_);
    keys_.begin((key_ + group) * stride_, column_);
    carry();
  }
  // Queries of a group are taken from its end, keys from its beginning.
  __device__ __forceinline__ void carry() {
    for (; column_ >= head_dim_; column_ -= head_dim_) {
      ++offset_;
      --queries_.token;
      ++keys_.token;
      queries_.at -= head_dim_ + queries_.token_stride;
      keys_.at += keys_.token_stride - head_dim_;
    }
  }

  int32_t stride_, head_dim_, first_query_;
  Source queries_, keys_;
  int32_t key_ = 0, depth_, offset_, column_;
};

using Scores = float[kWarpTile / 16][kWarpTile / 8][4];

// s += the products of the warp's rows and keys over one step.
__device__ __forceinline__ void multiply(const Stage& stage, int row, int key, Scores& s) {
  const int lane = int(threadIdx.x) % kWarp;
  const bf16* a_at = stage.queries + (row + lane % 16) * kPitch + lane / 16 * 8;
  const bf16* b_at = stage.keys + (key + lane / 16 * 8 + lane % 8) * kPitch + lane / 8 % 2 * 8;
#pragma unroll
  for (int step = 0; step < kDepth; step += 16) {
    uint32_t a[kWarpTile / 16][4];
#pragma unroll
    for (int m = 0; m < kWarpTile / 16; ++m) ldmatrix_x4(a[m], a_at + m * 16 * kPitch + step);
#pragma unroll
    for (int n = 0; n < kWarpTile / 8; n += 2) {
      uint32_t b[4];
      ldmatrix_x4(b, b_at + n * 8 * kPitch + step);
#pragma unroll
      for (int m = 0; m < kWarpTile / 16; ++m) {
        mma_bf16_16816(s[m][n], a[m], {b[0], b[1]});
        mma_bf16_16816(s[m][n + 1], a[m], {b[2], b[3]});
      }
    }
  }
}

// Of `count` scores; a number of -infinity adds nothing, and not all are.
__device__ __forceinline__ BlockSum sum_of(const float* scores, int count) {
  float most = scores[0], total = 0;
  if (count % 4 == 0) {
    const auto* fours = reinterpret_cast<const float4*>(scores);
    for (int i = 0; i < count / 4; ++i) {
      const float4 x = fours[i];
      most = fmaxf(most, fmaxf(fmaxf(x.x, x.y), fmaxf(x.z, x.w)));
    }
    for (int i = 0; i < count / 4; ++i) {
      const float4 x = fours[i];
      total += fast_exp2(x.x - most);
      total += fast_exp2(x.y - most);
      total += fast_exp2(x.z - most);
      total += fast_exp2(x.w - most);
    }
    return {most, total};
  }
  for (int i = 1; i < count; ++i) most = fmaxf(most, scores[i]);
  for (int i = 0; i < count; ++i) total += fast_exp2(scores[i] - most);
  return {most, total};
}

// The warp's scores, of the query groups from `row` on and the key groups from `key` on, become
// maxima and sums of their key blocks.
__device__ __forceinline__ void gather(const ChoiceProblem& p, const ChoiceRows& rows, int32_t row,
                                       int32_t key, const Scores& s, float* scores,
                                       const ChoiceScratch& scratch) {
  constexpr float kNever = -std::numeric_limits<float>::infinity();
  const int lane = int(threadIdx.x) % kWarp, g = lane / 4, t = lane % 4;
  const bool masked = key + kWarpTile - 1 > row;
  const int32_t blocks = kWarpTile / p.each, first_block = key / p.each;
#pragma unroll
  for (int m = 0; m < kWarpTile / 16; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int32_t seen = row + m * 16 + g + 8 * half - key;  // the last column that is
#pragma unroll
      for (int n = 0; n < kWarpTile / 8; ++n) {
        const int column = n * 8 + 2 * t;
        float2 two = make_float2(s[m][n][2 * half] * p.factor, s[m][n][2 * half + 1] * p.factor);
        if (masked && column > seen) two.x = kNever;
        if (masked && column + 1 > seen) two.y = kNever;
        *reinterpret_cast<float2*>(scores + (g + 8 * half) * kScorePitch + column) = two;
      }
    }
    __syncwarp();
    for (int32_t i = lane; i < kSlice * blocks; i += kWarp) {
      const int32_t group = row + m * 16 + i % kSlice, block = i / kSlice;
      if (group >= rows.past || key + block * p.each > group) continue;
      scratch.sums[int64_t(group - rows.first) * p.pitch + first_block + block] =
          sum_of(scores + i % kSlice * kScorePitch + block * p.each, p.each);
    }
    __syncwarp();
  }
}

__device__ __forceinline__ void score_rows(const ChoiceProblem& p, const ChoiceRows& rows,
                                           const bf16* q, const bf16* k, Memory& memory,
                                           const ChoiceScratch& scratch) {
  const int warp = int(threadIdx.x) / kWarp;
  const int warp_row = warp / kKeyWarps * kWarpTile, warp_key = warp % kKeyWarps * kWarpTile;
  const int32_t row = rows.first + warp_row;
  const int32_t seen = row < rows.past ? (row + kWarpTile < rows.past ? row + kWarpTile : rows.past)
                                       : 0;  // key groups that the warp's rows see
  const int32_t steps = (p.stride * p.head_dim + kDepth - 1) / kDepth;
  int32_t ahead = (rows.past + kKeys - 1) / kKeys * steps;  // to load
  Loader loader(p, rows, q, k);
#pragma unroll 1
  for (int i = 0; i < kStages - 1; ++i) {
    if (ahead-- > 0) loader.next(memory.stages[i]);
    cp_async_commit();
  }
  unsigned stage = 0;
#pragma unroll 1
  for (int32_t key = 0; key < rows.past; key += kKeys) {
    const bool busy = key + warp_key < seen;
    Scores s;
#pragma unroll
    for (auto& of_rows : s) {
#pragma unroll
      for (auto& of_keys : of_rows) of_keys[0] = of_keys[1] = of_keys[2] = of_keys[3] = 0;
    }
#pragma unroll 1
    for (int32_t step = 0; step < steps; ++step) {
      cp_async_wait<kStages - 2>();
      __syncthreads();  // all of this step is there, and the last one has been read
      if (ahead-- > 0) loader.next(memory.stages[(stage + kStages - 1) % kStages]);
      cp_async_commit();
      if (busy) multiply(memory.stages[stage], warp_row, warp_key, s);
      stage = (stage + 1) % kStages;
    }
    if (busy) gather(p, rows, row, key + warp_key, s, memory.of_warp[warp].scores, scratch);
  }
  cp_async_wait<0>();
}

__global__ void __launch_bounds__(kThreads)
    choose_mma_kernel(ChoiceProblem p, const bf16* q, const bf16* k) {
  auto& memory = *dynamic_shared_memory<Memory>();
  const ChoiceScratch scratch(p);
  ChoiceRows rows;
  while (take_rows(p, &memory.ticket, rows)) {
    score_rows(p, rows, q, k, memory, scratch);
    __syncthreads();
    choose_rows<kWarps>(p, rows, scratch, memory.of_warp[threadIdx.x / kWarp].bins);
  }
}

}  // namespace

void mma_choose_blocks(const XAttentionArgs& args, Device& device, Stream stream) {
  launch_choice<bf16>("choose_blocks_mma", choose_mma_kernel, kMmaChoiceKernel, sizeof(Memory),
                      args, device, stream);
}

}  // namespace elastron::ops::cuda
