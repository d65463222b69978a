// forward.cu for sm_90a: every pair of sets, all heads of all sequences in one launch, and
// both branches in one pass over the keys. The scores of the next tile are multiplied while the
// softmax of this one is worked out, and two warpgroups take turns at it.
#include "core/cuda/launch.h"
#include "core/error.h"
#include "ops/cuda/attention/hopper_softmax.h"
#include "ops/cuda/attention/hopper_tiles.h"
#include "ops/cuda/attention/mma_kernels.h"
#include "ops/cuda/tensor_map.h"

namespace elastron::ops::cuda {

using namespace elastron::cuda;

namespace {

using Outputs = GateOutputs<bf16>;

// Of a tile of queries, from the producer.
struct QueryWork {
  QueryTile tile;
  bool open, there;  // there: false after the last tile
};
// How the running softmax goes on over a tile of keys. Each way is a loop body of its own: ptxas
// moves the wait for a product above a branch, and the softmax would no longer run beside it.
enum class Step : uint8_t {
  plain,   // all pairs are visible
  causal,  // on the diagonal
  masked,  // by any mask
  part,    // something is due before it, whatever its mask
};
// Of a tile of keys.
struct KeyWork {
  int32_t begin;
  KeyMask mask;
  Step step;
  bool last;
  PartChange due;  // after it
};

// kApart: the branches have parts of their own, and sums are stashed between them.
template <int kDim, bool kApart>
struct ForwardMemory {
  static constexpr int kStages = kDim == 64 ? 4 : kApart ? 2 : 3;
  SwizzledTile<kHopperRows, kDim> queries;
  SwizzledTile<kHopperKeys, kDim> keys[kStages], values[kStages];
  float stash[kApart ? kDim / 2 : 1][kApart ? kConsumerThreads : 1];
  float stashed_most[kHopperRows], stashed_total[kHopperRows];
  float unused;
  KeyWork key_work[kStages];
  QueryWork query_work[2];
  Handover query_tile, work[2], key_tile[kStages], value_tile[kStages];
};
static_assert(sizeof(ForwardMemory<64, true>) + kTileAlignment <= kHopperShared &&
              sizeof(ForwardMemory<128, false>) + kTileAlignment <= kHopperShared &&
              sizeof(ForwardMemory<128, true>) + kTileAlignment <= kHopperShared);

template <class Tile>
__device__ __forceinline__ void copy_tile(Tile& tile, const CUtensorMap& map, Barrier& b,
                                          int32_t head, int32_t token,
                                          uint32_t bytes = sizeof(Tile)) {
  barrier_arrive_expect(b, bytes);
  tile.copy_from(map, b, head, token);
}

// The one thread that fills shared memory.
template <int kDim, bool kApart>
__device__ __forceinline__ void produce(const Geometry& g, const TileQueue& queue,
                                        const Outputs& outputs, const CUtensorMap& q_map,
                                        const CUtensorMap& k_map, const CUtensorMap& v_map,
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
    barrier_wait(memory.work[turn.stage].empty, turn.parity ^ 1,
                 "forward producer: a place for a tile's work");
    memory.query_work[turn.stage] = work;
    barrier_arrive(memory.work[turn.stage].full);
    turn.go_on();
    if (!work.there) return;

    const BranchOutputs<bf16> wanted = outputs.of(work.open);
    KeyTiles<kHopperKeys> walk(pattern_of(g, t), t.begin, t.end, wanted.retrieval != nullptr,
                               wanted.sparse != nullptr);
    KeyTile tile = walk.next();
    int32_t values_at = -1;
    bool due = false;  // before this tile
    for (;;) {
      const KeyTile next = walk.next();
      // Keys go one tile ahead of values, as they are multiplied.
      barrier_wait(memory.key_tile[keys.stage].empty, keys.parity ^ 1,
                   "forward producer: a place for keys");
      KeyWork& keys_work = memory.key_work[keys.stage];
      keys_work.begin = tile.begin;
      // What lies beyond the last key of a tile is of others, or later.
      const bool part_of_box = tile.end - tile.begin < kHopperKeys;
      const KeyMask mask = part_of_box && tile.mask == KeyMask::none ? KeyMask::causal : tile.mask;
      keys_work.mask = mask;
      keys_work.step = due                       ? Step::part
                       : mask == KeyMask::none   ? Step::plain
                       : mask == KeyMask::causal ? Step::causal
                                                 : Step::masked;
      keys_work.last = next.part == Part::end;
      const PartChange change(g.sets, wanted, tile.part, next.part);
      keys_work.due = change;
      due = change.any();
      copy_tile(memory.keys[keys.stage], k_map, memory.key_tile[keys.stage].full, t.kv_head,
                t.place.first_key + tile.begin);
      keys.go_on();
      if (values_at < 0) {
        barrier_wait(memory.query_tile.empty, queries_parity,
                     "forward producer: the place for queries");
        queries_parity ^= 1;
        copy_tile(memory.queries, q_map, memory.query_tile.full, t.head,
                  t.place.first_token + t.begin, bytes_of_rows<kDim>(g));
      }
      for (int32_t n = values_at < 0 ? 1 : 0; n < (next.part == Part::end ? 2 : 1); ++n) {
        barrier_wait(memory.value_tile[values.stage].empty, values.parity ^ 1,
                     "forward producer: a place for values");
        copy_tile(memory.values[values.stage], v_map, memory.value_tile[values.stage].full,
                  t.kv_head, t.place.first_key + (n == 0 ? values_at : tile.begin));
        values.go_on();
      }
      if (next.part == Part::end) break;
      values_at = tile.begin;
      tile = next;
    }
  }
}

template <int kDim>
__device__ __forceinline__ void write_branch(const Geometry& g, const QueryTile& t,
                                             const RunningSoftmax<kDim>& run, bf16* out,
                                             float* lse) {
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

// What is due after a tile of keys.
template <int kDim, bool kApart>
__device__ __forceinline__ void finish(const Geometry& g, const Outputs& outputs,
                                       const QueryWork& work, PartChange due,
                                       RunningSoftmax<kDim>& run,
                                       ForwardMemory<kDim, kApart>& memory) {
  const BranchOutputs<bf16> out = outputs.of(work.open);
  if (due.retrieval) write_branch(g, work.tile, run, out.retrieval, out.lse_retrieval);
  if constexpr (kApart) {
    if (due.save) {
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
    if (due.restore) {
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
  if (due.sparse) write_branch(g, work.tile, run, out.sparse, out.lse_sparse);
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

  float s[kScoreBlocks][4];
  uint32_t probabilities[kScoreBlocks / 2][4];
  RunningSoftmax<kDim> run;

  // Worked out for each tile: kept, its steps would take two registers each.
  const auto own_queries = [&] { return memory.queries.template operand<Major::k>(group * 64); };
  const auto multiply_keys = [&](const Operand<Major::k>& queries, const Operand<Major::k>& tile) {
    products_begin(s);
    multiply_rows<kDim, kHopperKeys>(s, queries, tile);
    products_commit();
  };
  const auto multiply_values = [&](const Operand<Major::mn>& tile) {
    products_begin(run.sums, probabilities);
    add_product<kDim>(run.sums, probabilities, tile);
    products_commit();
  };

  for (;;) {
    barrier_wait(memory.work[turn.stage].full, turn.parity, "forward consumer: a tile's work");
    // It stays where it is: registers are short.
    const QueryWork& work = memory.query_work[turn.stage];
    const QueryTile& t = work.tile;
    if (!work.there) break;
    const Sight sights[2] = {{g, t, own_row()}, {g, t, own_row() + 8}};
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      run.most[half] = kNever;
      run.total[half] = 0;
    }
    clear(run.sums);

    barrier_wait(memory.query_tile.full, queries_parity, "forward consumer: queries");
    queries_parity ^= 1;
    barrier_wait(memory.key_tile[keys.stage].full, keys.parity, "forward consumer: keys");
    KeyWork tile = memory.key_work[keys.stage];
    multiply_keys(own_queries(), memory.keys[keys.stage].template operand<Major::k>());
    products_wait<0>(s);
    memory.key_tile[keys.stage].give_back();
    keys.go_on();
    if (tile.mask != KeyMask::none) hide(s, tile.begin, tile.mask, sights);
    float keep[2];
    go_on(s, g.scale_log2, run, keep);
    round_to_fragments(s, probabilities);

    const auto go_on_over = [&]<Step kStep>() {
      const KeyWork next = memory.key_work[keys.stage];
      const auto queries = own_queries();
      const auto next_keys = memory.keys[keys.stage].template operand<Major::k>();
      const auto values_now = memory.values[values.stage].template operand<Major::mn>();
      named_barrier_sync(mine, kConsumerThreads);
      multiply_keys(queries, next_keys);
      barrier_wait(memory.value_tile[values.stage].full, values.parity, "forward consumer: values");
      multiply_values(values_now);
      named_barrier_arrive(others, kConsumerThreads);
      if constexpr (kStep == Step::part) {
        products_wait<0>(s, run.sums, probabilities);
        finish(g, outputs, work, tile.due, run, memory);
      } else {
        products_wait<1>(s);
      }
      memory.key_tile[keys.stage].give_back();
      keys.go_on();
      if constexpr (kStep == Step::causal) hide_later(s, next.begin, sights);
      if constexpr (kStep > Step::causal) hide(s, next.begin, next.mask, sights);
      go_on(s, g.scale_log2, run, keep);
      before_the_wait(memory.unused, run.total);
      products_wait<0>(run.sums, probabilities);
      memory.value_tile[values.stage].give_back();
      values.go_on();
      scale_sums(run, keep);
      round_to_fragments(s, probabilities);
      tile = next;
    };
    while (!tile.last) {
      barrier_wait(memory.key_tile[keys.stage].full, keys.parity, "forward consumer: keys");
      switch (memory.key_work[keys.stage].step) {
        case Step::plain: go_on_over.template operator()<Step::plain>(); break;
        case Step::causal: go_on_over.template operator()<Step::causal>(); break;
        case Step::masked: go_on_over.template operator()<Step::masked>(); break;
        case Step::part: go_on_over.template operator()<Step::part>(); break;
      }
    }
    memory.query_tile.give_back();
    barrier_wait(memory.value_tile[values.stage].full, values.parity, "forward consumer: values");
    multiply_values(memory.values[values.stage].template operand<Major::mn>());
    products_wait<0>(run.sums);
    memory.value_tile[values.stage].give_back();
    values.go_on();
    finish(g, outputs, work, tile.due, run, memory);
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
      produce<kDim, kApart>(g, queue, outputs, q_map, k_map, v_map, memory);
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
void with_kernel(int64_t head_dim, bool apart, F&& f) {
  if (head_dim == 64) {
    apart ? f.template operator()<64, true>() : f.template operator()<64, false>();
  } else {
    apart ? f.template operator()<128, true>() : f.template operator()<128, false>();
  }
}

}  // namespace

AttentionDevice attention_device() {
  int device = 0, major = 0, minor = 0;
  if (cudaGetDevice(&device) != cudaSuccess ||
      cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) != cudaSuccess ||
      cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device) != cudaSuccess) {
    return {};
  }
  AttentionDevice found{.capability = 10 * major + minor};
  if (major != 9 || !has_tensor_maps()) return found;
  cudaFuncAttributes attributes{};
  check(cudaFuncGetAttributes(&attributes,
                              reinterpret_cast<const void*>(&forward_hopper_kernel<128, false>)),
        "routed_attention_forward_hopper");
  found.hopper_code = attributes.sharedSizeBytes < kNoHopperCode;
  return found;
}

void hopper_attention_forward(const AttentionForwardArgs& args, const SequenceTiles& tiles,
                              const TileQueue& queue, Pairs pairs, Stream stream) {
  if (queue.count == 0) return;
  const AttentionShape& shape = args.shape;
  const Geometry g = geometry_of(args, tiles, pairs, kHopperRows);
  const Outputs outputs = gate_outputs<bf16>(args);
  const CUtensorMap q_map = tile_map(args.q, args.varlen.tokens(), shape.q_heads, shape.head_dim,
                                     g.tokens_per_tile, g.tile_heads);
  const auto keys_map = [&](const HeadsView& x) {
    return tile_map(x, args.varlen.keys(), shape.kv_heads, shape.head_dim, kHopperKeys, 1);
  };
  with_kernel(shape.head_dim, !args.sets.nested(), [&]<int kDim, bool kApart>() {
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
