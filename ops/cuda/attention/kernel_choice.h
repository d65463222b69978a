// Which kernels compute attention on a GPU: pure functions of the problem, the device and what is
// allowed, in plain C++ (tests/ops/kernel_choice_test.cpp has them as a table). The kernels
// themselves are in ops/cuda/attention/, docs/attention-kernels.md says what each is for.
#pragma once
#include <bit>
#include <cstdint>
#include <initializer_list>

#include "core/dtype.h"
#include "ops/attention/args.h"
#include "ops/attention/attention_kernels.h"
#include "ops/kernel_families.h"

namespace elastron::ops::cuda {

inline constexpr int64_t kMostHeadDim = 128;
// Columns that the kernels have for a head: there is code for these widths.
constexpr int64_t padded_width(int64_t head_dim) {
  for (const int64_t width : {32, 64, 80, 96}) {
    if (head_dim <= width) return width;
  }
  return kMostHeadDim;
}

// Rows of a tile of queries (tokens x query heads side by side) and keys of a tile of keys of the
// kernels for sm_90a.
inline constexpr int kHopperRows = 128, kHopperKeys = 128;
// Backward one side of a block's tiles is 64: keys that rows of queries go through, and rows that
// keys go through.
inline constexpr int kHopperGradientRows = 64, kHopperGradientKeys = 64;

// Sequences shorter than this are not worth a library's calls. (Not measured yet.)
inline constexpr int64_t kLeastForLibrary = 1024;

struct AttentionDevice {
  int capability = 0;  // 10 times its major number, and its minor one
  // The build has code of sm_90a, and the driver knows tensor maps.
  bool hopper_code = false;
};

struct KernelQuestion {
  DType dtype = DType::bf16;
  AttentionShape shape;
  int64_t tile_heads = 1;  // query heads side by side: AttentionArgs::tile_heads()
  int64_t block = 0;       // tokens of a chosen block; 0 where no set is of blocks
  bool aligned = false;    // rows can be read 16 bytes at a time
  bool gradients = false;
  AttentionKernels allowed = AttentionKernels::hopper;  // the fastest that may be used
  KernelFamilies forbidden;                             // of the device
};

// Rows can be read 16 bytes at a time.
inline bool aligned_rows(std::initializer_list<HeadsView> views) {
  for (const HeadsView& x : views) {
    if (reinterpret_cast<uintptr_t>(x.data) % 16 != 0 || x.token_stride % 8 != 0) return false;
  }
  return true;
}

inline KernelQuestion kernel_question(DType dtype, const AttentionArgs& args,
                                      std::initializer_list<HeadsView> views, bool gradients) {
  return {.dtype = dtype,
          .shape = args.shape,
          .tile_heads = args.tile_heads(),
          .block = args.sets.has(KeySetKind::blocks) ? args.choice.block : 0,
          .aligned = aligned_rows(views),
          .gradients = gradients,
          .allowed = args.kernels,
          .forbidden = args.forbidden};
}

constexpr bool mma_takes(const KernelQuestion& q) {
  return q.dtype == DType::bf16 && q.shape.head_dim % 16 == 0 && q.shape.head_dim <= kMostHeadDim &&
         q.aligned;
}

// Chosen blocks hold whole tiles: query heads that share one are a power of two there.
constexpr bool hopper_takes(const KernelQuestion& q) {
  const int64_t most_heads = q.gradients ? kHopperGradientRows : kHopperRows;
  return q.dtype == DType::bf16 && (q.shape.head_dim == 64 || q.shape.head_dim == 128) &&
         q.tile_heads <= most_heads &&
         (q.block == 0 ||
          (q.block % kHopperKeys == 0 && std::has_single_bit(uint64_t(q.tile_heads)))) &&
         q.aligned;
}
constexpr bool hopper_runs_on(const AttentionDevice& device) {
  return device.capability / 10 == 9 && device.hopper_code;
}
// A GPU that the kernels are for, and a build without them.
constexpr bool hopper_is_missing(const AttentionDevice& device) {
  return device.capability / 10 == 9 && !device.hopper_code;
}

// The fastest of our own kernels that take the problem; the plain ones take all.
constexpr AttentionKernels choose_kernels(const KernelQuestion& q, const AttentionDevice& device) {
  using Family = KernelFamily;
  const auto may = [&](AttentionKernels kernels, Family forward, Family gradients) {
    return q.allowed >= kernels && !q.forbidden.contains(q.gradients ? gradients : forward);
  };
  if (may(AttentionKernels::hopper, Family::hopper_forward, Family::hopper_gradients) &&
      hopper_takes(q) && hopper_runs_on(device)) {
    return AttentionKernels::hopper;
  }
  if (may(AttentionKernels::mma, Family::mma_forward, Family::mma_gradients) && mma_takes(q)) {
    return AttentionKernels::mma;
  }
  return AttentionKernels::plain;
}

struct LibraryQuestion {
  FullAttentionBy full_by = FullAttentionBy::automatic;
  DType dtype = DType::bf16;
  AttentionShape shape;
  KeySetPair sets;
  int64_t longest = 0;  // keys of the longest sequence
  bool aligned = true;
  bool gradients = false;
  KernelFamilies forbidden;  // of the device
};

// Whether a library computes the full attention of the retrieval branch, if there is one.
constexpr bool library_wanted(const LibraryQuestion& q) {
  const bool takes = q.dtype == DType::bf16 && q.shape.head_dim % 8 == 0 &&
                     q.shape.head_dim <= kMostHeadDim && q.aligned &&
                     q.sets.retrieval == KeySetKind::full &&
                     !q.forbidden.contains(q.gradients ? KernelFamily::library_gradients
                                                       : KernelFamily::library_forward);
  return takes && (q.full_by == FullAttentionBy::cudnn ||
                   (q.full_by == FullAttentionBy::automatic && q.longest >= kLeastForLibrary));
}

// Whether XAttention's scores are computed on tensor cores: bf16, and a block of keys does not go
// over 64 groups.
constexpr bool mma_scores(DType dtype, int64_t head_dim, int64_t groups_of_block, bool aligned,
                          KernelFamilies forbidden = {}) {
  return dtype == DType::bf16 && head_dim % 8 == 0 && 64 % groups_of_block == 0 && aligned &&
         !forbidden.contains(KernelFamily::mma_scores);
}

}  // namespace elastron::ops::cuda
