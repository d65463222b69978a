// Both branches in one pass over the keys, tile by tile with a running softmax (docs/method.md, One
// pass).
#include <cmath>
#include <limits>

#include "ops/cuda/attention/hopper_kernels.h"
#include "ops/cuda/attention/mma_kernels.h"
#include "ops/cuda/attention/plain_tiles.h"
#include "ops/detail/vector_math.h"

namespace elastron::ops::cuda {

using namespace elastron::cuda;

namespace {

// kC: columns each thread owns of a row; head_dim <= 16 kC.
template <int kC>
struct Running {
  float sums[kRowsEach][kC];
  float most[kRowsEach], total[kRowsEach];
};

// What a block reads, and its shared memory.
template <class T>
struct Inputs {
  const T *q, *k, *v;
  int64_t q_stride, k_stride, v_stride;
};
template <int kC>
struct Tiles {
  static constexpr int kWidth = kC * kSide, kPitch = kWidth + 1;
  float *queries, *keys, *values, *scores;

  __device__ explicit Tiles(float* memory)
      : queries(memory),                    // [rows][pitch]
        keys(queries + kRows * kPitch),     // [keys][pitch]
        values(keys + kKeys * kPitch),      // [keys][pitch]
        scores(values + kKeys * kPitch) {}  // [rows][score pitch]
};

// The softmax goes on over one tile of keys.
template <int kC, class T>
__device__ void go_on(const Geometry& g, const QueryTile& t, const KeyTile& tile,
                      const Sight (&sights)[kRowsEach], const Inputs<T>& in, const Tiles<kC>& space,
                      Running<kC>& run) {
  constexpr int kWidth = Tiles<kC>::kWidth, kPitch = Tiles<kC>::kPitch;
  const int ty = int(threadIdx.x) / kSide, tx = int(threadIdx.x) % kSide;
  for (int32_t begin = tile.begin; begin < tile.end; begin += kKeys) {
    __syncthreads();  // the last keys have been read
    load_keys(g, in.k, in.k_stride, t.place.first_key, begin, tile.end, t.kv_head, kWidth, kPitch,
              space.keys);
    load_keys(g, in.v, in.v_stride, t.place.first_key, begin, tile.end, t.kv_head, kWidth, kPitch,
              space.values);
    __syncthreads();
    float s[kRowsEach][kKeysEach];
    dot_tile(space.queries, kPitch, space.keys, kPitch, kWidth, s);
#pragma unroll
    for (int a = 0; a < kRowsEach; ++a) {
      const int row = ty * kRowsEach + a;
      float most = run.most[a];
#pragma unroll
      for (int b = 0; b < kKeysEach; ++b) {
        const bool seen = sights[a].sees(tile.mask, begin + tx * kKeysEach + b);
        s[a][b] = seen ? s[a][b] * g.scale_log2 : -std::numeric_limits<float>::infinity();
        most = s[a][b] > most ? s[a][b] : most;
      }
      most = row_max(most);
      // Before a row has seen a key its maximum is -inf, and so may all of the tile be.
      const float keep = most == run.most[a] ? 1.0f : exp2f(run.most[a] - most);
      float total = 0;
#pragma unroll
      for (int b = 0; b < kKeysEach; ++b) {
        const float p =
            s[a][b] == -std::numeric_limits<float>::infinity() ? 0.0f : exp2f(s[a][b] - most);
        total += p;
        space.scores[row * kScorePitch + tx * kKeysEach + b] = p;
      }
      run.total[a] = run.total[a] * keep + row_sum(total);
      run.most[a] = most;
#pragma unroll
      for (int j = 0; j < kC; ++j) run.sums[a][j] *= keep;
    }
    __syncwarp();  // a row's probabilities come from its own half warp
    for (int key = 0; key < kKeys; ++key) {
      float p[kRowsEach];
#pragma unroll
      for (int a = 0; a < kRowsEach; ++a) {
        p[a] = space.scores[(ty * kRowsEach + a) * kScorePitch + key];
      }
#pragma unroll
      for (int j = 0; j < kC; ++j) {
        const float value = space.values[key * kPitch + tx + j * kSide];
#pragma unroll
        for (int a = 0; a < kRowsEach; ++a) run.sums[a][j] += p[a] * value;
      }
    }
  }
}

template <int kC, class T>
__device__ void write_rows(const Geometry& g, const QueryTile& t, const Running<kC>& run, T* out,
                           float* lse) {
  const int ty = int(threadIdx.x) / kSide, tx = int(threadIdx.x) % kSide;
#pragma unroll
  for (int a = 0; a < kRowsEach; ++a) {
    const int row = ty * kRowsEach + a;
    if (row >= rows_of(g, t)) continue;
    const int64_t at = item_of(g, t, row);
    const float inverse = 1.0f / run.total[a];
#pragma unroll
    for (int j = 0; j < kC; ++j) {
      const int column = tx + j * kSide;
      if (column < g.head_dim) {
        detail::put(out[at * g.head_dim + column], run.sums[a][j] * inverse);
      }
    }
    if (lse != nullptr && tx == 0) lse[at] = (run.most[a] + log2f(run.total[a])) * kLn2;
  }
}

template <int kC, class T>
__device__ void forward_tile(const Geometry& g, const QueryTile& t, const Inputs<T>& in,
                             const BranchOutputs<T>& out, const Tiles<kC>& space) {
  load_rows(g, t, in.q, in.q_stride, Tiles<kC>::kWidth, Tiles<kC>::kPitch, space.queries);
  const int row = int(threadIdx.x) / kSide * kRowsEach;
  const Sight sights[kRowsEach] = {{g, t, row}, {g, t, row + 1}, {g, t, row + 2}, {g, t, row + 3}};
  Running<kC> run, saved;
#pragma unroll
  for (int a = 0; a < kRowsEach; ++a) {
    run.most[a] = -std::numeric_limits<float>::infinity();
    run.total[a] = 0;
#pragma unroll
    for (int j = 0; j < kC; ++j) run.sums[a][j] = 0;
  }
  KeyTiles<int(kTileKeys)> walk(pattern_of(g, t), t.begin, t.end, out.retrieval != nullptr,
                                out.sparse != nullptr);
  for (KeyTile tile = walk.next(); tile.part != Part::end;) {
    go_on<kC>(g, t, tile, sights, in, space, run);
    const KeyTile next = walk.next();
    if (next.part != tile.part) {
      const PartChange due(g.sets, out, tile.part, next.part);
      if (due.save) saved = run;
      if (due.retrieval) write_rows(g, t, run, out.retrieval, out.lse_retrieval);
      if (due.restore) run = saved;
      if (due.sparse) write_rows(g, t, run, out.sparse, out.lse_sparse);
    }
    tile = next;
  }
}

template <int kC, class T>
__global__ void __launch_bounds__(kAttentionThreads)
    forward_kernel(Geometry g, TileQueue queue, Inputs<T> in, GateOutputs<T> outputs) {
  __shared__ int32_t ticket;
  const Tiles<kC> space(dynamic_shared_memory<float>());
  ScheduledTile at;
  while (take_tile(queue, &ticket, at)) {
    const QueryTile t = query_tile_at(g, place_of(g, at.sequence), at.head, at.tile);
    forward_tile<kC, T>(g, t, in, outputs.of(is_open(g, at.sequence, t.kv_head)), space);
  }
}

}  // namespace

template <class T>
void routed_attention_forward(const AttentionForwardArgs& args, const SequenceTiles& tiles,
                              Pairs pairs, Device& device, Stream stream) {
  switch (choose_kernels(kernel_question(dtype_of<T>, args, {args.q, args.k, args.v}, false),
                         attention_device())) {
    case AttentionKernels::hopper:
      return hopper_attention_forward(args, tiles, pairs, device, stream);
    case AttentionKernels::mma: return mma_attention_forward(args, tiles, pairs, device, stream);
    case AttentionKernels::plain: break;
  }
  const Geometry g = geometry_of(args, tiles, pairs);
  const auto data = [](const HeadsView& x) { return static_cast<const T*>(x.data); };
  const Inputs<T> in{data(args.q),        data(args.k),        data(args.v),
                     args.q.token_stride, args.k.token_stride, args.v.token_stride};
  const TileSchedule schedule = schedule_query_tiles(args, tiles, {kRows, int(kTileKeys)},
                                                     args.other != nullptr, pairs, device, stream);
  with_columns(args.shape.head_dim, [&]<int kC>() {
    const char* name = "routed_attention_forward";
    const LaunchShape shape = persistent(name, forward_kernel<kC, T>, kAttentionThreads,
                                         shared_bytes(kC, 1, 1), schedule.queue().count);
    launch(name, forward_kernel<kC, T>, shape, stream, g, schedule.queue(), in,
           gate_outputs<T>(args));
  });
}

template void routed_attention_forward<float>(const AttentionForwardArgs&, const SequenceTiles&,
                                              Pairs, Device&, Stream);
template void routed_attention_forward<bf16>(const AttentionForwardArgs&, const SequenceTiles&,
                                             Pairs, Device&, Stream);

std::string attention_kernels(DType dtype) {
  if (dtype != DType::bf16) return "plain kernels";
  if (!hopper_runs_on(attention_device())) return "tensor cores (mma)";
  return "sm_90a kernels (wgmma, TMA)";
}

bool lacks_fast_kernels() { return hopper_is_missing(attention_device()); }

}  // namespace elastron::ops::cuda
