// dq of backward_mma.cu for sm_90a. A block has 128 rows of queries and goes
// through the keys that they see, 64 at a time. While the scores of a tile of keys are worked out
// the product with the tile before it is under way.
#include "core/cuda/launch.h"
#include "ops/cuda/attention/hopper_tiles.h"
#include "ops/cuda/tensor_map.h"

namespace elastron::ops::cuda {

using namespace elastron::cuda;

namespace {

constexpr int kKeys = kHopperGradientKeys;

// Of a tile of queries, from the producer.
struct QueryWork {
  QueryTile tile;
  bool there;  // false after the last tile
};
// Of a tile of keys.
struct KeyWork {
  int32_t begin;
  KeyMask mask;
  bool last;
};

template <int kDim>
struct DqMemory {
  static constexpr int kStages = kDim == 64 ? 6 : 4;
  SwizzledTile<kHopperRows, kDim> queries, d_rows;
  SwizzledTile<kKeys, kDim> keys[kStages], values[kStages];
  KeyWork key_work[kStages];
  QueryWork query_work[2];
  float unused;
  Handover rows, work[2], stages[kStages];
};
static_assert(sizeof(DqMemory<64>) + kTileAlignment <= kHopperShared &&
              sizeof(DqMemory<128>) + kTileAlignment <= kHopperShared);

struct Inputs {
  const float *lse, *row_dots;
};

// The one thread that fills shared memory.
template <int kDim>
__device__ __forceinline__ void produce(const Geometry& g, const TileQueue& queue,
                                        const CUtensorMap& q_map, const CUtensorMap& d_map,
                                        const CUtensorMap& k_map, const CUtensorMap& v_map,
                                        DqMemory<kDim>& memory) {
  Turn<2> turn;
  Turn<DqMemory<kDim>::kStages> stages;
  uint32_t rows_parity = 1;
  for (;;) {
    const int32_t taken = atomicAdd(queue.next, 1);
    QueryWork work{};
    bool open = false;
    if (taken < queue.count) {
      const ScheduledTile at = queue.tiles[taken];
      work = {.tile = query_tile_at(g, place_of(g, at.sequence), at.head, at.tile),
              .there = at.cost > 0};
      open = is_open(g, at.sequence, work.tile.kv_head);
    }
    const QueryTile& t = work.tile;
    barrier_wait(memory.work[turn.stage].empty, turn.parity ^ 1,
                 "dq producer: a place for a tile's work");
    memory.query_work[turn.stage] = work;
    barrier_arrive(memory.work[turn.stage].full);
    turn.go_on();
    if (!work.there) return;

    barrier_wait(memory.rows.empty, rows_parity, "dq producer: the place for rows");
    rows_parity ^= 1;
    barrier_arrive_expect(memory.rows.full, 2 * bytes_of_rows<kDim>(g));
    const int32_t token = t.place.first_token + t.begin;
    memory.queries.copy_from(q_map, memory.rows.full, t.head, token);
    memory.d_rows.copy_from(d_map, memory.rows.full, t.head, token);
    KeyTiles<kKeys> walk(pattern_of(g, t), t.begin, t.end, open, !open);
    for (KeyTile tile = walk.next(); tile.part != Part::end;) {
      const KeyTile next = walk.next();
      Handover& there = memory.stages[stages.stage];
      barrier_wait(there.empty, stages.parity ^ 1, "dq producer: a place for keys and values");
      // What lies beyond the last key of a tile is of others, or later.
      const bool part_of_box = tile.end - tile.begin < kKeys;
      memory.key_work[stages.stage] = {
          .begin = tile.begin,
          .mask = part_of_box && tile.mask == KeyMask::none ? KeyMask::causal : tile.mask,
          .last = next.part == Part::end};
      auto &keys = memory.keys[stages.stage], &values = memory.values[stages.stage];
      barrier_arrive_expect(there.full, sizeof keys + sizeof values);
      keys.copy_from(k_map, there.full, t.kv_head, t.place.first_key + tile.begin);
      values.copy_from(v_map, there.full, t.kv_head, t.place.first_key + tile.begin);
      stages.go_on();
      tile = next;
    }
  }
}

// Two warpgroups, 64 rows of each tile for each.
template <int kDim>
__device__ __forceinline__ void consume(const Geometry& g, const Inputs& in, bf16* dq,
                                        DqMemory<kDim>& memory) {
  constexpr int kBlocks = kKeys / 8;
  const int first = int(threadIdx.x) / kWarpgroup * 64;
  Turn<2> turn;
  Turn<DqMemory<kDim>::kStages> stages;
  uint32_t rows_parity = 0;
  float s[kBlocks][4], ds[kBlocks][4], sums[kDim / 8][4];
  uint32_t fragments[kBlocks / 2][4];
  for (;;) {
    barrier_wait(memory.work[turn.stage].full, turn.parity, "dq consumer: a tile's work");
    // It stays where it is: registers are short.
    const QueryWork& work = memory.query_work[turn.stage];
    const QueryTile& t = work.tile;
    if (!work.there) return;
    const Sight sights[2] = {{g, t, own_row()}, {g, t, own_row() + 8}};
    float lse[2] = {0, 0}, dots[2] = {0, 0};
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = own_row() + 8 * half;
      if (row >= rows_of(g, t)) continue;
      lse[half] = in.lse[item_of(g, t, row)] * kLog2E;
      dots[half] = in.row_dots[item_of(g, t, row)];
    }
    clear(sums);
    barrier_wait(memory.rows.full, rows_parity, "dq consumer: rows");
    rows_parity ^= 1;
    Turn<DqMemory<kDim>::kStages> before = stages;  // the stage that a product still reads
    bool first_tile = true, last = false;
    // Each kind of mask has a body of its own, without a branch between the two waits: ptxas moves
    // a wait above one.
    const auto go_on_over = [&]<KeyMask kMask>() {
      const KeyWork tile = memory.key_work[stages.stage];
      const auto queries = memory.queries.template operand<Major::k>(first);
      const auto d_rows = memory.d_rows.template operand<Major::k>(first);
      const auto keys = memory.keys[stages.stage].template operand<Major::k>();
      const auto turned_keys = memory.keys[stages.stage].template operand<Major::mn>();
      const auto values = memory.values[stages.stage].template operand<Major::k>();
      last = tile.last;
      products_begin(s, ds);
      multiply_rows<kDim, kKeys>(s, queries, keys);
      products_commit();
      multiply_rows<kDim, kKeys>(ds, d_rows, values);
      products_commit();
      products_wait<1>(s, sums, fragments);
      memory.stages[before.stage].give_back(!first_tile);
      if constexpr (kMask == KeyMask::causal) hide_later(s, tile.begin, sights);
      if constexpr (kMask == KeyMask::shown) hide(s, tile.begin, tile.mask, sights);
#pragma unroll
      for (int n = 0; n < kBlocks; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) s[n][i] = fast_exp2(s[n][i] * g.scale_log2 - lse[i / 2]);
      }
      before_the_wait(memory.unused, s);
      products_wait<0>(ds);
      memory.rows.give_back(last);
#pragma unroll
      for (int n = 0; n < kBlocks; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) ds[n][i] = s[n][i] * (ds[n][i] - dots[i / 2]);
      }
      round_to_fragments(ds, fragments);
      products_begin(sums, fragments);
      add_product<kDim>(sums, fragments, turned_keys);
      products_commit();
      before = stages;
      first_tile = false;
      stages.go_on();
    };
    while (!last) {
      barrier_wait(memory.stages[stages.stage].full, stages.parity, "dq consumer: keys and values");
      switch (memory.key_work[stages.stage].mask) {
        case KeyMask::none: go_on_over.template operator()<KeyMask::none>(); break;
        case KeyMask::causal: go_on_over.template operator()<KeyMask::causal>(); break;
        default: go_on_over.template operator()<KeyMask::shown>();
      }
    }
    products_wait<0>(sums, fragments);
    memory.stages[before.stage].give_back();
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = own_row() + 8 * half;
      const bool wanted = row < rows_of(g, t);
      write_out(sums, half, g.scale_log2 * kLn2, wanted,
                dq + (wanted ? item_of(g, t, row) * kDim : 0));
    }
    __syncwarp();
    memory.work[turn.stage].give_back();
    turn.go_on();
  }
}

template <int kDim>
__global__ void __launch_bounds__(kHopperThreads, 1)
    dq_hopper_kernel(const Geometry g, const TileQueue queue, const Inputs in, bf16* dq,
                     const __grid_constant__ CUtensorMap q_map,
                     const __grid_constant__ CUtensorMap d_map,
                     const __grid_constant__ CUtensorMap k_map,
                     const __grid_constant__ CUtensorMap v_map) {
#if ELASTRON_HOPPER_CODE
  auto& memory = tile_memory<DqMemory<kDim>>();
  if (threadIdx.x == 0) {
    memory.rows.init();
    for (Handover& h : memory.work) h.init();
    for (Handover& h : memory.stages) h.init();
    barrier_init_fence();
  }
  __syncthreads();
  if (int(threadIdx.x) >= kConsumerThreads) {
    keep_registers<kProducerRegisters>();
    if (int(threadIdx.x) == kConsumerThreads) {
      produce<kDim>(g, queue, q_map, d_map, k_map, v_map, memory);
    }
  } else {
    take_registers<kConsumerRegisters>();
    consume<kDim>(g, in, dq, memory);
  }
#else
  no_hopper_code();
#endif
}

}  // namespace

void hopper_attention_dq(const AttentionBackwardArgs& args, const SequenceTiles& tiles,
                         const TileQueue& queue, Pairs pairs, Stream stream) {
  if (queue.count == 0) return;
  const AttentionShape& shape = args.shape;
  const Geometry g = geometry_of(args, tiles, pairs, kHopperRows);
  const Inputs in{static_cast<const float*>(args.lse), static_cast<const float*>(args.row_dots)};
  const auto rows_map = [&](const HeadsView& x) {
    return tile_map(x, args.varlen.tokens(), shape.q_heads, shape.head_dim, g.tokens_per_tile,
                    g.tile_heads);
  };
  const auto keys_map = [&](const HeadsView& x) {
    return tile_map(x, args.varlen.keys(), shape.kv_heads, shape.head_dim, kKeys, 1);
  };
  const auto run = [&]<int kDim>() {
    const char* name = "routed_attention_dq_hopper";
    const auto kernel = dq_hopper_kernel<kDim>;
    launch(name, kernel,
           persistent(name, kernel, kHopperThreads, sizeof(DqMemory<kDim>) + kTileAlignment,
                      queue.count),
           stream, g, queue, in, static_cast<bf16*>(args.dq), rows_map(args.q),
           rows_map(args.d_out), keys_map(args.k), keys_map(args.v));
  };
  shape.head_dim == 64 ? run.template operator()<64>() : run.template operator()<128>();
}

}  // namespace elastron::ops::cuda
