// forward.cu on tensor cores: both branches in one pass over the keys. Scores and
// probabilities stay in registers; the next keys and values arrive while these are used.
#include <limits>

#include "ops/cuda/attention/mma_kernels.h"
#include "ops/cuda/attention/mma_tiles.h"

namespace elastron::ops::cuda {

using namespace elastron::cuda;

namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

template <int kC>
struct RunningRows {
  float sums[2 * kC][4];
  float most[2], total[2];  // total: of this thread's columns
};

// The softmax goes on over one tile: scores in, probabilities out.
template <int kC>
__device__ __forceinline__ void go_on(float (&s)[kMmaKeys / 8][4], float scale_log2,
                                      RunningRows<kC>& run) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float most = run.most[half];
#pragma unroll
    for (int n = 0; n < kMmaKeys / 8; ++n) {
      most = fmaxf(most, fmaxf(s[n][2 * half], s[n][2 * half + 1]));
    }
    most = warp_max<4>(most);
    // Before a row has seen a key its maximum is -inf, and so may all of the tile be.
    const float base = most == kNever ? 0.0f : most * scale_log2;
    const float keep = fast_exp2(run.most[half] * scale_log2 - base);
    float total = 0;
#pragma unroll
    for (int n = 0; n < kMmaKeys / 8; ++n) {
#pragma unroll
      for (int i = 2 * half; i < 2 * half + 2; ++i) {
        s[n][i] = fast_exp2(s[n][i] * scale_log2 - base);
        total += s[n][i];
      }
    }
    run.total[half] = run.total[half] * keep + total;
    run.most[half] = most;
#pragma unroll
    for (int n = 0; n < 2 * kC; ++n) {
      run.sums[n][2 * half] *= keep;
      run.sums[n][2 * half + 1] *= keep;
    }
  }
}

template <int kC>
__device__ __forceinline__ void write_rows(const Geometry& g, const QueryTile& t,
                                           const RunningRows<kC>& run, bf16* out, float* lse) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float total = warp_sum<4>(run.total[half]);
    const int row = first_row() + 8 * half;
    if (row >= rows_of(g, t)) continue;
    const int64_t at = item_of(g, t, row);
    write_row(run.sums, half, 1.0f / total, g.head_dim, out + at * g.head_dim);
    if (lse != nullptr && threadIdx.x % 4 == 0) {
      lse[at] = (run.most[half] * g.scale_log2 + log2f(total)) * kLn2;
    }
  }
}

// Where both branches go on from the same sums: these, by thread, behind the rest of the block's
// memory.
template <int kC>
struct SavedRows {
  float numbers[8 * kC + 4][kMmaThreads];

  // f(number of the run, the same here)
  template <class F>
  __device__ __forceinline__ void each(RunningRows<kC>& run, F&& f) {
    const int thread = int(threadIdx.x);
#pragma unroll
    for (int n = 0; n < 2 * kC; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) f(run.sums[n][i], numbers[n * 4 + i][thread]);
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      f(run.most[half], numbers[8 * kC + half][thread]);
      f(run.total[half], numbers[8 * kC + 2 + half][thread]);
    }
  }
  __device__ __forceinline__ void save(RunningRows<kC>& run) {
    each(run, [](float& own, float& kept) { kept = own; });
  }
  __device__ __forceinline__ void restore(RunningRows<kC>& run) {
    each(run, [](float& own, float& kept) { own = kept; });
  }
};
template <int kC>
struct ForwardMemory {
  QueryBlockMemory<kC> tiles;
  SavedRows<kC> saved;  // where it is needed
};

template <int kC>
__device__ __forceinline__ void forward_tile(const Geometry& g, const QueryTile& t, const bf16* q,
                                             int64_t q_stride, const KeysAndValues& from,
                                             const BranchOutputs<bf16>& out,
                                             ForwardMemory<kC>& block) {
  QueryBlockMemory<kC>& memory = block.tiles;
  // Queries pass through the second stage, which is free until the first tile is worked on.
  async_rows<kC>(g, t, q, q_stride, memory.stages[1].keys);
  KeyTile tile = memory.begin(g, t, out.retrieval != nullptr, out.sparse != nullptr);
  load_stage(g, t.place, from, tile.begin, tile.end, t.kv_head, memory.stages[0]);
  cp_async_commit();
  cp_async_wait<0>();
  __syncthreads();
  RowFragments<kC> queries;
  queries.load(memory.stages[1].keys, int(threadIdx.x) / kWarp * kWarpRows);

  const Sight sights[2] = {{g, t, first_row()}, {g, t, first_row() + 8}};
  RunningRows<kC> run;
  set_zero(run.sums);
  run.most[0] = run.most[1] = kNever;
  run.total[0] = run.total[1] = 0;
  for (int turn = 0;; turn ^= 1) {
    const KeyStage<kC>& stage = memory.stages[turn];
    cp_async_wait<0>();
    __syncthreads();  // all of this tile is there, and the last one has been read
    const KeyTile next = memory.after(turn);
    if (next.part != Part::end) {
      load_stage(g, t.place, from, next.begin, next.end, t.kv_head, memory.stages[turn ^ 1]);
    }
    cp_async_commit();

    float s[kMmaKeys / 8][4];
    multiply_by_rows<kC>(queries, stage.keys, 0, s);
    if (is_masked(tile, kMmaKeys)) {
#pragma unroll
      for (int n = 0; n < kMmaKeys / 8; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int32_t key = tile.begin + n * 8 + int(threadIdx.x) % 4 * 2 + i % 2;
          if (!sights[i / 2].sees(tile.mask, key)) s[n][i] = kNever;
        }
      }
    }
    go_on<kC>(s, g.scale_log2, run);
    uint32_t p[kMmaKeys / 16][4];
    to_fragments(s, p);
    add_product<kC>(p, stage.values, 0, run.sums);

    if (next.part != tile.part) {
      const PartChange due(g.sets, out, tile.part, next.part);
      if (due.save) block.saved.save(run);
      if (due.retrieval) write_rows(g, t, run, out.retrieval, out.lse_retrieval);
      if (due.restore) block.saved.restore(run);
      if (due.sparse) write_rows(g, t, run, out.sparse, out.lse_sparse);
      if (next.part == Part::end) break;
    }
    tile = next;
  }
}

template <int kC>
__global__ void __launch_bounds__(kMmaThreads)
    forward_mma_kernel(Geometry g, TileQueue queue, const bf16* q, int64_t q_stride,
                       KeysAndValues from, GateOutputs<bf16> outputs) {
  auto& memory = *dynamic_shared_memory<ForwardMemory<kC>>();
  ScheduledTile at;
  while (take_tile(queue, &memory.tiles.ticket, at)) {
    const QueryTile t = query_tile_at(g, place_of(g, at.sequence), at.head, at.tile);
    forward_tile<kC>(g, t, q, q_stride, from, outputs.of(is_open(g, at.sequence, t.kv_head)),
                     memory);
  }
}

}  // namespace

void mma_attention_forward(const AttentionForwardArgs& args, const SequenceTiles& tiles,
                           Pairs pairs, Device& device, Stream stream) {
  const Geometry g = geometry_of(args, tiles, pairs);
  const bool both = args.other != nullptr;
  const TileSchedule schedule =
      schedule_query_tiles(args, tiles, {kRows, kMmaKeys}, both, pairs, device, stream);
  const auto data = [](const HeadsView& x) { return static_cast<const bf16*>(x.data); };
  const KeysAndValues from{data(args.k), data(args.v), args.k.token_stride, args.v.token_stride};
  with_columns(args.shape.head_dim, [&]<int kC>() {
    const char* name = "routed_attention_forward_mma";
    const size_t bytes =
        both && !args.sets.nested() ? sizeof(ForwardMemory<kC>) : sizeof(QueryBlockMemory<kC>);
    const LaunchShape shape =
        persistent(name, forward_mma_kernel<kC>, kMmaThreads, bytes, schedule.queue().count);
    launch(name, forward_mma_kernel<kC>, shape, stream, g, schedule.queue(), data(args.q),
           args.q.token_stride, from, gate_outputs<bf16>(args));
  });
}

}  // namespace elastron::ops::cuda
