// routed_attention_forward.cu on tensor cores: both branches in one pass over the keys. Scores and
// probabilities stay in registers; the next keys and values arrive while these are used.
#include <limits>

#include "ops/cuda/attention_mma.h"
#include "ops/cuda/routed_attention_mma.h"

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
    if (row >= (t.end - t.begin) * g.group) continue;
    const int64_t at = item_of(g, t, row);
    write_row(run.sums, half, 1.0f / total, g.head_dim, out + at * g.head_dim);
    if (lse != nullptr && threadIdx.x % 4 == 0) {
      lse[at] = (run.most[half] * g.scale_log2 + log2f(total)) * kLn2;
    }
  }
}

template <int kC>
__global__ void __launch_bounds__(kMmaThreads)
    forward_mma_kernel(Geometry g, const uint8_t* gate, const bf16* q, int64_t q_stride,
                       KeysAndValues from, bf16* selected, bf16* other, float* lse) {
  auto& memory = *dynamic_shared_memory<QueryBlockMemory<kC>>();
  // The last tiles of a sequence cost most: they start first.
  const QueryTile t =
      query_tile(g, gate, g.tiles.all_query_tiles - 1 - int32_t(blockIdx.x), int32_t(blockIdx.y));
  if (g.streaming_only && t.full) return;
  bf16* full_out = t.full ? selected : other;
  bf16* streaming_out = t.full ? other : selected;
  // Queries pass through the second stage, which is free until the first tile is worked on.
  async_rows<kC>(g, t, q, q_stride, memory.stages[1].keys);
  if (threadIdx.x == 0) memory.plan = plan_query_tile(g.rule, t.begin, t.end);
  __syncthreads();
  KeyTiles tiles(memory.plan, full_out != nullptr);
  KeyTile tile = tiles.next();
  load_stage(g, t.place, from, tile.begin, tile.end, t.kv_head, memory.stages[0]);
  cp_async_commit();
  cp_async_wait<0>();
  __syncthreads();
  RowFragments<kC> queries;
  queries.load(memory.stages[1].keys, int(threadIdx.x) / kWarp * kWarpRows);

  const int32_t sink = sink_of(g, t.place);
  const Sight sights[2] = {{g, t, first_row()}, {g, t, first_row() + 8}};
  RunningRows<kC> run;
  set_zero(run.sums);
  run.most[0] = run.most[1] = kNever;
  run.total[0] = run.total[1] = 0;
  for (int turn = 0;; turn ^= 1) {
    const KeyStage<kC>& stage = memory.stages[turn];
    cp_async_wait<0>();
    __syncthreads();  // all of this tile is there, and the last one has been read
    const KeyTile next = tiles.next();
    if (next.part != Part::end) {
      load_stage(g, t.place, from, next.begin, next.end, t.kv_head, memory.stages[turn ^ 1]);
    }
    cp_async_commit();

    float s[kMmaKeys / 8][4];
    multiply_by_rows<kC>(queries, stage.keys, 0, s);
    if (tile.masked) {
#pragma unroll
      for (int n = 0; n < kMmaKeys / 8; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int32_t key = tile.begin + n * 8 + int(threadIdx.x) % 4 * 2 + i % 2;
          if (!sights[i / 2].sees(tile, sink, key)) s[n][i] = kNever;
        }
      }
    }
    go_on<kC>(s, g.scale_log2, run);
    uint32_t p[kMmaKeys / 16][4];
    to_fragments(s, p);
    add_product<kC>(p, stage.values, 0, run.sums);

    if (tile.part == Part::streaming && next.part != Part::streaming && streaming_out != nullptr) {
      write_rows<kC>(g, t, run, streaming_out, t.full ? nullptr : lse);
    }
    if (next.part == Part::end) break;
    tile = next;
  }
  if (full_out != nullptr) write_rows<kC>(g, t, run, full_out, t.full ? lse : nullptr);
}

}  // namespace

void mma_attention_forward(const AttentionForwardArgs& args, const SequenceTiles& tiles,
                           Pairs pairs, Stream stream) {
  const Geometry g = geometry_of(args, tiles, pairs);
  const auto data = [](const HeadsView& x) { return static_cast<const bf16*>(x.data); };
  const KeysAndValues from{data(args.k), data(args.v), args.k.token_stride, args.v.token_stride};
  with_columns(args.shape.head_dim, [&]<int kC>() {
    const LaunchShape shape{dim3(unsigned(tiles.all_query_tiles), unsigned(g.kv_heads)),
                            dim3(kMmaThreads), sizeof(QueryBlockMemory<kC>)};
    launch("routed_attention_forward_mma", forward_mma_kernel<kC>, shape, stream, g, args.gate,
           data(args.q), args.q.token_stride, from, static_cast<bf16*>(args.selected),
           static_cast<bf16*>(args.other), static_cast<float*>(args.lse));
  });
}

}  // namespace elastron::ops::cuda
