// dk and dv of backward_mma.cu for sm_90a. A block has 128 keys and goes through
// the queries that see them, 64 rows at a time, in order. Scores stand transposed, keys by rows: as
// they come out of one product they go into the next.
#include "core/cuda/launch.h"
#include "ops/cuda/attention/hopper_tiles.h"
#include "ops/cuda/attention/key_parts.h"
#include "ops/cuda/tensor_map.h"

namespace elastron::ops::cuda {

using namespace elastron::cuda;

namespace {

constexpr int kQueryRows = kHopperGradientRows;
// At head_dim 128 two kinds of sums and two of scores are in registers at once: with fewer the
// compiler has each product wait for the one before.
template <int kDim>
inline constexpr int kDkvProducerRegisters = kDim == 64 ? kProducerRegisters : 56;
template <int kDim>
inline constexpr int kDkvConsumerRegisters = kDim == 64 ? kConsumerRegisters : 224;
static_assert(kDkvProducerRegisters<128> + kConsumers * kDkvConsumerRegisters<128> <=
              (kConsumers + 1) * kLaunchRegisters);

// Of a tile of keys, from the producer.
struct KeyWork {
  KeyItem item;
  bool seen;   // by any query
  bool there;  // false after the last tile
};
// Token and query head of the rows of a tile that a lane loads, counted from the tile's first. The
// same in every tile: the division is done once. Rows past those that a tile has are of no token.
template <int kRows>
class RowsOfLane {
 public:
  __device__ explicit RowsOfLane(const Geometry& g) {
#pragma unroll
    for (int i = 0; i < kRows / kWarp; ++i) {
      const int row = int(threadIdx.x) % kWarp + i * kWarp;
      packed_[i] = row / g.tile_heads | row % g.tile_heads << 16;
    }
  }
  __device__ __forceinline__ int32_t token(int i) const { return packed_[i] & 0xffff; }
  __device__ __forceinline__ int32_t head(int i) const { return packed_[i] >> 16; }

 private:
  int32_t packed_[kRows / kWarp];  // in one register each
};

// Of a tile of queries. A row past its end has an infinite log-sum-exp, for probabilities of 0
// without a mask, and position -1, from where no key is seen.
template <int kRows>
struct RowWork {
  float lse[kRows], dots[kRows];  // lse in powers of two
  int32_t positions[kRows];
  KeyMask mask;  // none, causal, or another: shown
  bool last;

  // By one warp.
  __device__ __forceinline__ void load(const Geometry& g, const QueryTile& t,
                                       const RowsOfLane<kRows>& places, const float* all_lse,
                                       const float* all_dots) {
    const int64_t first = int64_t(t.place.first_token + t.begin) * g.q_heads + t.head;
#pragma unroll
    for (int i = 0; i < kRows / kWarp; ++i) {
      const int row = int(threadIdx.x) % kWarp + i * kWarp;
      const int32_t token = places.token(i);
      const bool inside = token < t.end - t.begin;
      const int64_t at = inside ? first + token * g.q_heads + places.head(i) : 0;
      lse[row] = inside ? all_lse[at] * kLog2E : -kNever;
      dots[row] = inside ? all_dots[at] : 0.0f;
      positions[row] = inside ? t.begin + token : -1;
    }
  }
  // Scores of keys by rows and these queries by columns: those that are not seen, of any set or of
  // one that reads all keys. Without a branch.
  template <KeyMask kMask>
  __device__ __forceinline__ void hide(float (&s)[kRows / 8][4], const KeySight (&sights)[2],
                                       int32_t dense_from) const {
#pragma unroll
    for (int n = 0; n < kRows / 8; ++n) {
      const auto& two =
          *reinterpret_cast<const Pack<int32_t, 2>*>(positions + n * 8 + int(threadIdx.x) % 4 * 2);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int32_t query = two.v[i % 2];
        const KeySight& sight = sights[i / 2];
        const bool seen = (query >= sight.key) & ((kMask == KeyMask::causal) |
                                                  (query < sight.until) | (query >= dense_from));
        if (!seen) s[n][i] = kNever;
      }
    }
  }
};

template <int kDim>
struct DkvMemory {
  static constexpr int kStages = 4;
  SwizzledTile<kHopperKeys, kDim> keys, values;
  SwizzledTile<kQueryRows, kDim> queries[kStages], d_rows[kStages];
  RowWork<kQueryRows> row_work[kStages];
  KeyWork key_work[2];
  float unused;
  Handover owned, work[2], stages[kStages];
};
static_assert(sizeof(DkvMemory<64>) + kTileAlignment <= kHopperShared &&
              sizeof(DkvMemory<128>) + kTileAlignment <= kHopperShared);

struct Inputs {
  const float *lse, *row_dots;
};
template <int kDim>
struct Outputs {
  bf16 *dk, *dv;
  KeyPiece<kHopperKeys, kDim>* pieces;
};

// The one warp that fills shared memory. All its lanes walk; the first gives out the copies.
template <int kDim>
__device__ __forceinline__ void produce(const Geometry& g, const KeyTileQueue& queue,
                                        const Inputs& in, const CUtensorMap& q_map,
                                        const CUtensorMap& d_map, const CUtensorMap& k_map,
                                        const CUtensorMap& v_map, DkvMemory<kDim>& memory) {
  const bool first_lane = threadIdx.x % kWarp == 0;
  Turn<2> turn;
  Turn<DkvMemory<kDim>::kStages> stages;
  uint32_t owned_parity = 1;
  const RowsOfLane<kQueryRows> places(g);
  for (;;) {
    int32_t taken = 0;
    if (first_lane) taken = atomicAdd(queue.queue.next, 1);
    taken = __shfl_sync(kAllLanes, taken, 0);
    ScheduledTile at{};
    if (taken < queue.queue.count) at = queue.queue.tiles[taken];
    barrier_wait(memory.work[turn.stage].empty, turn.parity ^ 1,
                 "dk, dv producer: a place for a tile's work");
    KeyWork& key_work = memory.key_work[turn.stage];
    // From the first tile that costs nothing on there is nothing to do.
    if (at.cost == 0) {
      if (!first_lane) return;
      key_work.there = false;
      barrier_arrive(memory.work[turn.stage].full);
      return;
    }
    if (first_lane) key_work.item = key_item_at<kHopperKeys>(g, queue, at);
    __syncwarp();
    // It stays where it is: the walk takes what registers there are.
    const KeyItem& item = key_work.item;
    const Place& place = item.place;
    QueryWalk<const KeyItem&> walk(g, item);
    SeenFrom from = walk.next(g);
    if (first_lane) {
      key_work.seen = from.tile >= 0;
      key_work.there = true;
      barrier_arrive(memory.work[turn.stage].full);
    }
    turn.go_on();
    if (from.tile < 0) continue;

    barrier_wait(memory.owned.empty, owned_parity,
                 "dk, dv producer: the place for keys and values");
    owned_parity ^= 1;
    if (first_lane) {
      barrier_arrive_expect(memory.owned.full, sizeof memory.keys + sizeof memory.values);
      memory.keys.copy_from(k_map, memory.owned.full, item.kv_head, place.first_key + item.begin);
      memory.values.copy_from(v_map, memory.owned.full, item.kv_head, place.first_key + item.begin);
    }
    const KeySetKind set = g.sets.of(is_open(g, place.sequence, item.kv_head));
    const StreamingRule rule = rule_of(g, place);
    while (from.tile >= 0) {
      const QueryTile t = query_tile_at(g, place, from.head, from.tile);
      from = walk.next(g);
      Handover& stage = memory.stages[stages.stage];
      auto& work = memory.row_work[stages.stage];
      barrier_wait(stage.empty, stages.parity ^ 1, "dk, dv producer: a place for rows");
      if (first_lane) {
        auto &queries = memory.queries[stages.stage], &d_rows = memory.d_rows[stages.stage];
        barrier_arrive_expect(stage.full, 2 * bytes_of_rows<kDim>(g));
        const int32_t token = place.first_token + t.begin;
        queries.copy_from(q_map, stage.full, t.head, token);
        d_rows.copy_from(d_map, stage.full, t.head, token);
        const int32_t past = item.begin + kHopperKeys;
        work.mask = tile_fully_visible(rule, set, item.begin, past, t.begin, t.end) ? KeyMask::none
                    : set == KeySetKind::streaming                                  ? KeyMask::shown
                                                   : KeyMask::causal;
        work.last = from.tile < 0;
      }
      work.load(g, t, places, in.lse, in.row_dots);
      __syncwarp();
      if (first_lane) barrier_arrive(stage.full);
      stages.go_on();
    }
  }
}

// Two warpgroups, 64 keys of each tile for each.
template <int kDim>
__device__ __forceinline__ void consume(const Geometry& g, const Outputs<kDim>& out,
                                        DkvMemory<kDim>& memory) {
  const int first = int(threadIdx.x) / kWarpgroup * 64, column = int(threadIdx.x) % 4 * 2;
  Turn<2> turn;
  Turn<DkvMemory<kDim>::kStages> stages;
  uint32_t owned_parity = 0;
  constexpr int kBlocks = kQueryRows / 8;
  // Whether dv's product goes ahead of dk's: there are registers for its operand beside the scores.
  constexpr bool kApart = kDim == 64;
  float p[kBlocks][4], ds[kBlocks][4], dk_sums[kDim / 8][4], dv_sums[kDim / 8][4];
  uint32_t p_fragments[kBlocks / 2][4], ds_fragments[kBlocks / 2][4];
  for (;;) {
    barrier_wait(memory.work[turn.stage].full, turn.parity, "dk, dv consumer: a tile's work");
    // It stays where it is: registers are short.
    const KeyWork& work = memory.key_work[turn.stage];
    const KeyItem& item = work.item;
    if (!work.there) return;
    const Place& place = item.place;
    const KeySetKind set = g.sets.of(is_open(g, place.sequence, item.kv_head));
    const auto dense_from = int32_t(QuerySpan::least(rule_of(g, place).dense_from, place.length));
    const KeySight sights[2] = {{g, place, set, item.begin + own_row()},
                                {g, place, set, item.begin + own_row() + 8}};
    clear(dk_sums);
    clear(dv_sums);
    if (work.seen) {
      barrier_wait(memory.owned.full, owned_parity, "dk, dv consumer: keys and values");
      owned_parity ^= 1;
    }
    bool last = !work.seen;
    // As in dq: no branch between the waits.
    const auto go_on_over = [&]<KeyMask kMask>() {
      const auto& rows = memory.row_work[stages.stage];
      const auto keys = memory.keys.template operand<Major::k>(first);
      const auto values = memory.values.template operand<Major::k>(first);
      const auto queries = memory.queries[stages.stage].template operand<Major::k>();
      const auto d_rows = memory.d_rows[stages.stage].template operand<Major::k>();
      const auto turned_d_rows = memory.d_rows[stages.stage].template operand<Major::mn>();
      const auto turned_queries = memory.queries[stages.stage].template operand<Major::mn>();
      last = rows.last;
      products_begin(p, ds);
      multiply_rows<kDim, kQueryRows>(p, keys, queries);
      products_commit();
      multiply_rows<kDim, kQueryRows>(ds, values, d_rows);
      products_commit();
      products_wait<1>(p);
      if constexpr (kMask != KeyMask::none) rows.template hide<kMask>(p, sights, dense_from);
#pragma unroll
      for (int n = 0; n < kBlocks; ++n) {
        const auto lse = *reinterpret_cast<const float2*>(rows.lse + n * 8 + column);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          p[n][i] = fast_exp2(p[n][i] * g.scale_log2 - (i % 2 == 0 ? lse.x : lse.y));
        }
      }
      if constexpr (kApart) {
        round_to_fragments(p, p_fragments);
        products_begin(dv_sums, p_fragments);
        add_product<kDim>(dv_sums, p_fragments, turned_d_rows);
        products_commit();
        products_wait<1>(ds);
      } else {
        before_the_wait(memory.unused, p);
        products_wait<0>(ds);
      }
      memory.owned.give_back(last);
#pragma unroll
      for (int n = 0; n < kBlocks; ++n) {
        const auto dots = *reinterpret_cast<const float2*>(rows.dots + n * 8 + column);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          ds[n][i] = p[n][i] * (ds[n][i] - (i % 2 == 0 ? dots.x : dots.y));
        }
      }
      round_to_fragments(ds, ds_fragments);
      if constexpr (kApart) {
        products_begin(dk_sums, ds_fragments);
      } else {
        round_to_fragments(p, p_fragments);
        products_begin(dv_sums, p_fragments, dk_sums, ds_fragments);
        add_product<kDim>(dv_sums, p_fragments, turned_d_rows);
      }
      add_product<kDim>(dk_sums, ds_fragments, turned_queries);
      products_commit();
      products_wait<0>(dv_sums, p_fragments, dk_sums, ds_fragments);
      memory.stages[stages.stage].give_back();
      stages.go_on();
    };
    while (!last) {
      barrier_wait(memory.stages[stages.stage].full, stages.parity, "dk, dv consumer: rows");
      switch (memory.row_work[stages.stage].mask) {
        case KeyMask::none: go_on_over.template operator()<KeyMask::none>(); break;
        case KeyMask::causal: go_on_over.template operator()<KeyMask::causal>(); break;
        default: go_on_over.template operator()<KeyMask::shown>();
      }
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = own_row() + 8 * half;
      if (item.piece >= 0) {
        keep_row(dk_sums, half, out.pieces[item.piece].dk[row]);
        keep_row(dv_sums, half, out.pieces[item.piece].dv[row]);
        continue;
      }
      const bool wanted = item.begin + row < item.end;
      const int64_t at =
          wanted ? (int64_t(place.first_key + item.begin + row) * g.kv_heads + item.kv_head) * kDim
                 : 0;
      write_out(dk_sums, half, g.scale_log2 * kLn2, wanted, out.dk + at);
      write_out(dv_sums, half, 1.0f, wanted, out.dv + at);
    }
    __syncwarp();
    memory.work[turn.stage].give_back();
    turn.go_on();
  }
}

template <int kDim>
__global__ void __launch_bounds__(kHopperThreads, 1)
    dkv_hopper_kernel(const Geometry g, const KeyTileQueue queue, const Inputs in,
                      const Outputs<kDim> out, const __grid_constant__ CUtensorMap q_map,
                      const __grid_constant__ CUtensorMap d_map,
                      const __grid_constant__ CUtensorMap k_map,
                      const __grid_constant__ CUtensorMap v_map) {
#if ELASTRON_HOPPER_CODE
  auto& memory = tile_memory<DkvMemory<kDim>>();
  if (threadIdx.x == 0) {
    memory.owned.init();
    for (Handover& h : memory.work) h.init();
    for (Handover& h : memory.stages) h.init(2);  // copies are announced, numbers are there
    barrier_init_fence();
  }
  // Copies leave these rows as they are. Columns of scores that are no query's are then 0, and add
  // nothing to the sums over queries.
  for (int stage = 0; stage < DkvMemory<kDim>::kStages; ++stage) {
    memory.queries[stage].clear_from(g.tokens_per_tile * g.tile_heads);
    memory.d_rows[stage].clear_from(g.tokens_per_tile * g.tile_heads);
  }
  fence_for_async();
  __syncthreads();
  if (int(threadIdx.x) >= kConsumerThreads) {
    keep_registers<kDkvProducerRegisters<kDim>>();
    if (int(threadIdx.x) < kConsumerThreads + kWarp) {
      produce<kDim>(g, queue, in, q_map, d_map, k_map, v_map, memory);
    }
  } else {
    take_registers<kDkvConsumerRegisters<kDim>>();
    consume<kDim>(g, out, memory);
  }
#else
  no_hopper_code();
#endif
}

}  // namespace

void hopper_attention_dkv(const AttentionBackwardArgs& args, const SequenceTiles& tiles,
                          const KeyTileQueue& queue, Pairs pairs, Device& device, Stream stream) {
  if (queue.queue.count == 0) return;
  const AttentionShape& shape = args.shape;
  const Geometry g = geometry_of(args, tiles, pairs, kQueryRows);
  const Inputs in{static_cast<const float*>(args.lse), static_cast<const float*>(args.row_dots)};
  auto *dk = static_cast<bf16*>(args.dk), *dv = static_cast<bf16*>(args.dv);
  const auto rows_map = [&](const HeadsView& x) {
    return tile_map(x, args.varlen.tokens(), shape.q_heads, shape.head_dim, g.tokens_per_tile,
                    g.tile_heads);
  };
  const auto keys_map = [&](const HeadsView& x) {
    return tile_map(x, args.varlen.keys(), shape.kv_heads, shape.head_dim, kHopperKeys, 1);
  };
  const auto run = [&]<int kDim>() {
    const char* name = "routed_attention_dkv_hopper";
    const auto kernel = dkv_hopper_kernel<kDim>;
    const LaunchShape blocks = persistent(
        name, kernel, kHopperThreads, sizeof(DkvMemory<kDim>) + kTileAlignment, queue.queue.count);
    with_key_pieces<kHopperKeys, kDim>(
        g, queue, dk, dv, device, stream, [&](KeyPiece<kHopperKeys, kDim>* pieces) {
          launch(name, kernel, blocks, stream, g, queue, in, Outputs<kDim>{dk, dv, pieces},
                 rows_map(args.q), rows_map(args.d_out), keys_map(args.k), keys_map(args.v));
        });
  };
  shape.head_dim == 64 ? run.template operator()<64>() : run.template operator()<128>();
}

void hopper_attention_gradients(const AttentionBackwardArgs& args, const SequenceTiles& tiles,
                                Pairs pairs, Device& device, Stream stream) {
  const TileSchedule queries = schedule_query_tiles(args, tiles, {kHopperRows, kHopperGradientKeys},
                                                    false, pairs, device, stream);
  hopper_attention_dq(args, tiles, queries.queue(), pairs, stream);
  const KeyTileSchedule keys =
      schedule_key_tiles(args, tiles, {kQueryRows, kHopperKeys}, true, pairs, device, stream);
  hopper_attention_dkv(args, tiles, keys.queue(), pairs, device, stream);
}

}  // namespace elastron::ops::cuda
