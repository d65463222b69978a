// routed_attention_forward.cu for sm_90a: every mode, all heads of all sequences in one launch, and
// both branches in one pass over the keys. The scores of the next tile are multiplied while the
// softmax of this one is worked out, and two warpgroups take turns at it.
#include "core/cuda/launch.h"
#include "core/error.h"
#include "ops/cuda/attention_hopper.h"
#include "ops/cuda/routed_attention_mma.h"
#include "ops/cuda/tensor_map.h"

namespace elastron::ops::cuda {

using namespace elastron::cuda;

namespace {

struct Outputs {
  bf16 *selected, *other;
  float *lse, *lse_other;
};

// What is to be done with the sums after a tile of keys, in this order.
enum After : uint32_t {
  kWriteRetrieval = 1,
  kStash = 2,    // they are where the other branch begins
  kRestore = 4,  // it begins
  kWriteSparse = 8,
  kLast = 16,
};

// `tile` is followed by one of part `next`. Where branches have parts of their own both begin from
// the common part; otherwise the sparse branch is the common part.
__device__ __forceinline__ uint32_t after(AttentionMode mode, Part part, Part next, bool retrieval,
                                          bool sparse) {
  if (part == next) return 0;
  const bool apart = mode == AttentionMode::xa_ssa, end = next == Part::end;
  uint32_t flags = 0;
  if (end) flags |= kLast;
  switch (part) {
    case Part::common:
      if (retrieval && next != Part::retrieval) flags |= kWriteRetrieval;
      if (sparse && (!apart || end)) flags |= kWriteSparse;
      if (sparse && apart && next == Part::retrieval) flags |= kStash;
      break;
    case Part::retrieval:
      flags |= kWriteRetrieval;
      if (sparse && apart) flags |= end ? kRestore | kWriteSparse : kRestore;
      break;
    default: flags |= kWriteSparse;
  }
  return flags;
}

// Of a tile of queries, from the producer.
struct QueryWork {
  QueryTile tile;
  bool open, there;  // there: false after the last tile
};
// Of a tile of keys.
struct KeyWork {
  int32_t begin;
  KeyMask mask;
  uint32_t after;
};

// kApart: the branches have parts of their own, and sums are stashed between them.
template <int kDim, bool kApart>
struct ForwardMemory {
  static constexpr int kStages = kDim == 64 ? 4 : kApart ? 2 : 3;
  struct Tile {
    bf16 elements[kHopperRows * kDim];
  };
  Tile queries, keys[kStages], values[kStages];
  float stash[kApart ? kDim / 2 : 1][kApart ? kConsumerThreads : 1];
  float stashed_most[kHopperRows], stashed_total[kHopperRows];
  KeyWork key_work[kStages];
  QueryWork query_work[2];
  Handover query_tile, work[2], key_tile[kStages], value_tile[kStages];
};
// What a block of compute capability 9.x may have.
static_assert(sizeof(ForwardMemory<64, true>) + kTileAlignment <= 227 * 1024 &&
              sizeof(ForwardMemory<128, false>) + kTileAlignment <= 227 * 1024 &&
              sizeof(ForwardMemory<128, true>) + kTileAlignment <= 227 * 1024);

template <int kDim>
__device__ __forceinline__ void copy_tile(bf16* tile, const CUtensorMap& map, Barrier& b,
                                          int32_t head, int32_t token) {
  barrier_arrive_expect(b, kDim * kHopperRows * 2);
#pragma unroll
  for (int c = 0; c < kDim; c += kTileColumns) {
    copy_box(tile + c * kHopperRows, map, b, c, head, token);
  }
}

// The one thread that fills shared memory.
template <int kDim, bool kApart>
__device__ __forceinline__ void produce(const Geometry& g, const TileQueue& queue, bool both,
                                        const CUtensorMap& q_map, const CUtensorMap& k_map,
                                        const CUtensorMap& v_map,
                                        ForwardMemory<kDim, kApart>& memory) {
  constexpr int kStages = ForwardMemory<kDim, kApart>::kStages;
  Turn<2> turn;
  Turn<kStages> keys, values;
  uint32_t queries_parity = 1;
  for (;;) {
    const int32_t taken = atomicAdd(queue.next, 1);
    QueryWork work{};
    if (taken < queue.count) {
      const ScheduledTile at = queue.tiles[taken];
      work = {.tile = query_tile_at(g, place_of(g, at.sequence), at.head, at.tile),
              .open = is_open(g, at.sequence, at.head / g.group),
              .there = at.cost > 0};
    }
    const QueryTile& t = work.tile;
    barrier_wait(memory.work[turn.stage].empty, turn.parity ^ 1);
    memory.query_work[turn.stage] = work;
    barrier_arrive(memory.work[turn.stage].full);
    turn.go_on();
    if (!work.there) return;

    const bool retrieval = both || work.open, sparse = both || !work.open;
    KeyTiles<kHopperKeys> walk(pattern_of(g, t), t.begin, t.end, retrieval, sparse);
    KeyTile tile = walk.next();
    int32_t values_at = -1;
    for (;;) {
      const KeyTile next = walk.next();
      // Keys go one tile ahead of values, as they are multiplied.
      barrier_wait(memory.key_tile[keys.stage].empty, keys.parity ^ 1);
      KeyWork& keys_work = memory.key_work[keys.stage];
      keys_work.begin = tile.begin;
      // What lies beyond the last key of a tile is of others, or later.
      const bool part_of_box = tile.end - tile.begin < kHopperKeys;
      keys_work.mask = part_of_box && tile.mask == KeyMask::none ? KeyMask::causal : tile.mask;
      keys_work.after = after(g.mode, tile.part, next.part, retrieval, sparse);
      copy_tile<kDim>(memory.keys[keys.stage].elements, k_map, memory.key_tile[keys.stage].full,
                      t.kv_head, t.place.first_key + tile.begin);
      keys.go_on();
      if (values_at < 0) {
        barrier_wait(memory.query_tile.empty, queries_parity);
        queries_parity ^= 1;
        copy_tile<kDim>(memory.queries.elements, q_map, memory.query_tile.full, t.head,
                        t.place.first_token + t.begin);
      }
      for (int32_t n = values_at < 0 ? 1 : 0; n < (next.part == Part::end ? 2 : 1); ++n) {
        barrier_wait(memory.value_tile[values.stage].empty, values.parity ^ 1);
        copy_tile<kDim>(memory.values[values.stage].elements, v_map,
                        memory.value_tile[values.stage].full, t.kv_head,
                        t.place.first_key + (n == 0 ? values_at : tile.begin));
        values.go_on();
      }
      if (next.part == Part::end) break;
      values_at = tile.begin;
      tile = next;
    }
  }
}

template <int kDim>
struct RunningSoftmax {
  float sums[kDim / 8][4];
  float most[2], total[2];  // total: of this thread's columns
};

// The softmax goes on over one tile: scores in, probabilities out; sums are to be multiplied by
// `keep`.
template <int kDim>
__device__ __forceinline__ void go_on(float (&s)[kHopperKeys / 8][4], float scale_log2,
                                      RunningSoftmax<kDim>& run, float (&keep)[2]) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float most = run.most[half];
#pragma unroll
    for (int n = 0; n < kHopperKeys / 8; ++n) {
      most = fmaxf(most, fmaxf(s[n][2 * half], s[n][2 * half + 1]));
    }
    most = warp_max<4>(most);
    // Before a row has seen a key its maximum is -inf, and so may all of the tile be.
    const float base = most == kNever ? 0.0f : most * scale_log2;
    keep[half] = fast_exp2(run.most[half] * scale_log2 - base);
    float total = 0;
#pragma unroll
    for (int n = 0; n < kHopperKeys / 8; ++n) {
#pragma unroll
      for (int i = 2 * half; i < 2 * half + 2; ++i) {
        s[n][i] = fast_exp2(s[n][i] * scale_log2 - base);
        total += s[n][i];
      }
    }
    run.total[half] = run.total[half] * keep[half] + total;
    run.most[half] = most;
  }
}

template <int kDim>
__device__ __forceinline__ void scale_sums(RunningSoftmax<kDim>& run, const float (&keep)[2]) {
#pragma unroll
  for (int n = 0; n < kDim / 8; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) run.sums[n][i] *= keep[i / 2];
  }
}

__device__ __forceinline__ void hide(float (&s)[kHopperKeys / 8][4], const KeyWork& tile,
                                     int32_t sink, const RowSight (&sights)[2]) {
#pragma unroll
  for (int n = 0; n < kHopperKeys / 8; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int32_t key = tile.begin + n * 8 + int(threadIdx.x) % 4 * 2 + i % 2;
      if (!sights[i / 2].sees(tile.mask, sink, key)) s[n][i] = kNever;
    }
  }
}

// The first of this thread's two rows of the tile; the other is 8 further on.
__device__ __forceinline__ int own_row() {
  return int(threadIdx.x) / kWarp * 16 + int(threadIdx.x) % kWarp / 4;
}

template <int kDim>
__device__ __forceinline__ void write_branch(const Geometry& g, const Outputs& outputs,
                                             const QueryTile& t, bool of_selected,
                                             const RunningSoftmax<kDim>& run) {
  bf16* out = of_selected ? outputs.selected : outputs.other;
  float* lse = of_selected ? outputs.lse : outputs.lse_other;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float total = warp_sum<4>(run.total[half]);
    const int32_t row = own_row() + 8 * half, query = t.begin + row / g.tile_heads;
    const bool wanted = query < t.end;
    const int64_t at =
        int64_t(t.place.first_token + query) * g.q_heads + t.head + row % g.tile_heads;
    write_out(run.sums, half, 1.0f / total, wanted, out + at * kDim);
    if (wanted && lse != nullptr && threadIdx.x % 4 == 0) {
      lse[at] = (run.most[half] * g.scale_log2 + log2f(total)) * kLn2;
    }
  }
}

// What is to be done with the sums after a tile.
template <int kDim, bool kApart>
__device__ __forceinline__ void finish(const Geometry& g, const Outputs& outputs,
                                       const QueryWork& work, uint32_t flags,
                                       RunningSoftmax<kDim>& run,
                                       ForwardMemory<kDim, kApart>& memory) {
  if (flags & kWriteRetrieval) write_branch(g, outputs, work.tile, work.open, run);
  if constexpr (kApart) {
    if (flags & kStash) {
#pragma unroll
      for (int i = 0; i < kDim / 2; ++i) memory.stash[i][threadIdx.x] = run.sums[i / 4][i % 4];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float total = warp_sum<4>(run.total[half]);
        if (threadIdx.x % 4 != 0) continue;
        memory.stashed_most[own_row() + 8 * half] = run.most[half];
        memory.stashed_total[own_row() + 8 * half] = total;
      }
      __syncwarp();
    }
    if (flags & kRestore) {
#pragma unroll
      for (int i = 0; i < kDim / 2; ++i) run.sums[i / 4][i % 4] = memory.stash[i][threadIdx.x];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        run.most[half] = memory.stashed_most[own_row() + 8 * half];
        run.total[half] = threadIdx.x % 4 == 0 ? memory.stashed_total[own_row() + 8 * half] : 0;
      }
      __syncwarp();  // before the next stash
    }
  }
  if (flags & kWriteSparse) write_branch(g, outputs, work.tile, !work.open, run);
}

// Two warpgroups, 64 rows of each tile for each.
template <int kDim, bool kApart>
__device__ __forceinline__ void consume(const Geometry& g, const Outputs& outputs,
                                        ForwardMemory<kDim, kApart>& memory) {
  constexpr int kStages = ForwardMemory<kDim, kApart>::kStages, kScoreBlocks = kHopperKeys / 8;
  constexpr int kOnesTurn = 1;  // the named barrier of the first group; the second one's follows
  const int group = int(threadIdx.x) / kWarpgroup;
  const int mine = kOnesTurn + group, others = kOnesTurn + 1 - group;
  if (group == 1) named_barrier_arrive(others, kConsumerThreads);
  Turn<2> turn;
  Turn<kStages> keys, values;
  uint32_t queries_parity = 0;
  const uint32_t queries_at =
      shared_address(memory.queries.elements) + uint32_t(group) * 64 * kRowBytes;

  float s[kScoreBlocks][4];
  uint32_t probabilities[kScoreBlocks / 2][4];
  RunningSoftmax<kDim> run;

  const auto multiply_keys = [&] {
    const uint32_t at = shared_address(memory.keys[keys.stage].elements);
    products_begin(s);
#pragma unroll
    for (int step = 0; step < kDim / 16; ++step) {
      product<kHopperKeys, Major::k, Major::k>(s, operand<Major::k>(queries_at, step, kColumnBytes),
                                               operand<Major::k>(at, step, kColumnBytes), step > 0);
    }
    products_commit();
  };
  const auto multiply_values = [&] {
    const uint32_t at = shared_address(memory.values[values.stage].elements);
    products_begin(run.sums, probabilities);
#pragma unroll
    for (int step = 0; step < kHopperKeys / 16; ++step) {
      product<kDim, Major::mn>(run.sums, probabilities[step],
                               operand<Major::mn>(at, step, kColumnBytes), true);
    }
    products_commit();
  };

  for (;;) {
    barrier_wait(memory.work[turn.stage].full, turn.parity);
    // It stays where it is: registers are short.
    const QueryWork& work = memory.query_work[turn.stage];
    const QueryTile& t = work.tile;
    if (!work.there) break;
    const StreamingRule rule = g.rule.within(t.place.length);
    const int32_t sink =
        rule.sink_tokens() < t.place.length ? int32_t(rule.sink_tokens()) : t.place.length;
    RowSight sights[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      sights[half].query = t.begin + (own_row() + 8 * half) / g.tile_heads;
      sights[half].local_begin = int32_t(rule.local_begin(sights[half].query));
      run.most[half] = kNever;
      run.total[half] = 0;
    }
    clear(run.sums);

    barrier_wait(memory.query_tile.full, queries_parity);
    queries_parity ^= 1;
    barrier_wait(memory.key_tile[keys.stage].full, keys.parity);
    KeyWork tile = memory.key_work[keys.stage];
    multiply_keys();
    products_wait<0>(s);
    memory.key_tile[keys.stage].give_back();
    keys.go_on();
    if (tile.mask != KeyMask::none) hide(s, tile, sink, sights);
    float keep[2];
    go_on(s, g.scale_log2, run, keep);
    round_to_fragments(s, probabilities);

    while (!(tile.after & kLast)) {
      barrier_wait(memory.key_tile[keys.stage].full, keys.parity);
      const KeyWork next = memory.key_work[keys.stage];
      named_barrier_sync(mine, kConsumerThreads);
      multiply_keys();
      barrier_wait(memory.value_tile[values.stage].full, values.parity);
      multiply_values();
      named_barrier_arrive(others, kConsumerThreads);
      products_wait<1>(s);
      memory.key_tile[keys.stage].give_back();
      keys.go_on();
      if (tile.after != 0) {
        products_wait<0>(run.sums);
        finish(g, outputs, work, tile.after, run, memory);
      }
      if (next.mask != KeyMask::none) hide(s, next, sink, sights);
      go_on(s, g.scale_log2, run, keep);
      products_wait<0>(run.sums, probabilities);
      memory.value_tile[values.stage].give_back();
      values.go_on();
      scale_sums(run, keep);
      round_to_fragments(s, probabilities);
      tile = next;
    }
    memory.query_tile.give_back();
    barrier_wait(memory.value_tile[values.stage].full, values.parity);
    multiply_values();
    products_wait<0>(run.sums);
    memory.value_tile[values.stage].give_back();
    values.go_on();
    finish(g, outputs, work, tile.after, run, memory);
    __syncwarp();
    memory.work[turn.stage].give_back();
    turn.go_on();
  }
  if (group == 0) named_barrier_sync(mine, kConsumerThreads);  // what the other one began with
}

template <int kDim, bool kApart>
__global__ void __launch_bounds__(kHopperThreads, 1)
    forward_hopper_kernel(const Geometry g, const TileQueue queue, const Outputs outputs,
                          const __grid_constant__ CUtensorMap q_map,
                          const __grid_constant__ CUtensorMap k_map,
                          const __grid_constant__ CUtensorMap v_map) {
#if ELASTRON_HOPPER_CODE
  auto& memory = tile_memory<ForwardMemory<kDim, kApart>>();
  if (threadIdx.x == 0) {
    memory.query_tile.init();
    for (Handover& h : memory.work) h.init();
    for (Handover& h : memory.key_tile) h.init();
    for (Handover& h : memory.value_tile) h.init();
    barrier_init_fence();
  }
  __syncthreads();
  if (int(threadIdx.x) >= kConsumerThreads) {
    keep_registers<kProducerRegisters>();
    if (int(threadIdx.x) == kConsumerThreads) {
      produce<kDim, kApart>(g, queue, outputs.other != nullptr, q_map, k_map, v_map, memory);
    }
  } else {
    take_registers<kConsumerRegisters>();
    consume<kDim, kApart>(g, outputs, memory);
  }
#else
  no_hopper_code();
#endif
}

template <class F>
void with_kernel(int64_t head_dim, AttentionMode mode, F&& f) {
  const bool apart = mode == AttentionMode::xa_ssa;
  if (head_dim == 64) {
    apart ? f.template operator()<64, true>() : f.template operator()<64, false>();
  } else {
    apart ? f.template operator()<128, true>() : f.template operator()<128, false>();
  }
}

}  // namespace

bool hopper_takes(DType dtype, const AttentionArgs& args, std::initializer_list<HeadsView> views) {
  const int64_t dim = args.shape.head_dim, heads = args.tile_heads();
  if (dtype != DType::bf16 || (dim != 64 && dim != 128)) return false;
  if ((heads & (heads - 1)) != 0 || heads > kHopperRows) return false;
  if (has_blocks(args.mode) && args.choice.block % kHopperKeys != 0) return false;
  return aligned_rows(views);
}

bool hopper_runs() {
  int device = 0, major = 0;
  if (cudaGetDevice(&device) != cudaSuccess ||
      cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) != cudaSuccess ||
      major != 9 || !has_tensor_maps()) {
    return false;
  }
  cudaFuncAttributes attributes{};
  check(cudaFuncGetAttributes(&attributes,
                              reinterpret_cast<const void*>(&forward_hopper_kernel<128, false>)),
        "routed_attention_forward_hopper");
  return attributes.sharedSizeBytes < kNoHopperCode;
}

void hopper_attention_forward(const AttentionForwardArgs& args, const SequenceTiles& tiles,
                              const TileQueue& queue, Pairs pairs, Stream stream) {
  if (queue.count == 0) return;
  const AttentionShape& shape = args.shape;
  const Geometry g = geometry_of(args, tiles, pairs, kHopperRows);
  const Outputs outputs{static_cast<bf16*>(args.selected), static_cast<bf16*>(args.other),
                        static_cast<float*>(args.lse), static_cast<float*>(args.lse_other)};
  const CUtensorMap q_map = tile_map(args.q, args.varlen.tokens(), shape.q_heads, shape.head_dim,
                                     g.tokens_per_tile, g.tile_heads);
  const auto keys_map = [&](const HeadsView& x) {
    return tile_map(x, args.varlen.keys(), shape.kv_heads, shape.head_dim, kHopperKeys, 1);
  };
  with_kernel(shape.head_dim, args.mode, [&]<int kDim, bool kApart>() {
    const char* name = "routed_attention_forward_hopper";
    const auto kernel = forward_hopper_kernel<kDim, kApart>;
    const LaunchShape blocks =
        persistent(name, kernel, kHopperThreads,
                   sizeof(ForwardMemory<kDim, kApart>) + kTileAlignment, queue.count);
    launch(name, kernel, blocks, stream, g, queue, outputs, q_map, keys_map(args.k),
           keys_map(args.v));
  });
}

void hopper_attention_forward(const AttentionForwardArgs& args, const SequenceTiles& tiles,
                              Pairs pairs, Device& device, Stream stream) {
  const TileSchedule schedule = schedule_query_tiles(args, tiles, {kHopperRows, kHopperKeys},
                                                     args.other != nullptr, pairs, device, stream);
  hopper_attention_forward(args, tiles, schedule.queue(), pairs, stream);
}

}  // namespace elastron::ops::cuda
