// Both branches in one pass over the keys, tile by tile with a running softmax (spec 3.3).
#include <cmath>
#include <limits>

#include "ops/cuda/attention_tiles.h"
#include "ops/cuda/routed_attention_hopper.h"
#include "ops/cuda/routed_attention_mma.h"
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

template <int kC, class T>
__device__ void visit_keys(const Geometry& g, const QueryTile& t, const KeySegments& segments,
                           bool streaming, const T* k, const T* v, int64_t k_stride,
                           int64_t v_stride, const float* queries, float* keys, float* values,
                           float* scores, Running<kC>& run) {
  constexpr int kWidth = kC * kSide, kPitch = kWidth + 1;
  const int ty = int(threadIdx.x) / kSide, tx = int(threadIdx.x) % kSide;
  for (int n = 0; n < segments.count; ++n) {
    const KeySegment segment = segments.items[n];
    for (int64_t begin = segment.begin; begin < segment.end; begin += kKeys) {
      const int64_t end = begin + kKeys < segment.end ? begin + kKeys : segment.end;
      __syncthreads();  // the last tile has been read
      load_keys(g, k, k_stride, t.place.first_key, begin, end, t.kv_head, kWidth, kPitch, keys);
      load_keys(g, v, v_stride, t.place.first_key, begin, end, t.kv_head, kWidth, kPitch, values);
      __syncthreads();
      float s[kRowsEach][kKeysEach];
      dot_tile(queries, kPitch, keys, kPitch, kWidth, s);
#pragma unroll
      for (int a = 0; a < kRowsEach; ++a) {
        const int row = ty * kRowsEach + a;
        const int64_t query = t.begin + row / g.group;
        float most = run.most[a];
#pragma unroll
        for (int b = 0; b < kKeysEach; ++b) {
          const int64_t key = begin + tx * kKeysEach + b;
          bool seen = key < end;
          if (segment.masked) {
            const bool shown = g.rule.visible(query, key);
            seen = seen && (streaming ? shown : key <= query && !shown);
          }
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
          scores[row * kScorePitch + tx * kKeysEach + b] = p;
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
          p[a] = scores[(ty * kRowsEach + a) * kScorePitch + key];
        }
#pragma unroll
        for (int j = 0; j < kC; ++j) {
          const float value = values[key * kPitch + tx + j * kSide];
#pragma unroll
          for (int a = 0; a < kRowsEach; ++a) run.sums[a][j] += p[a] * value;
        }
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
    if (row >= (t.end - t.begin) * g.group) continue;
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
__global__ void __launch_bounds__(kAttentionThreads)
    forward_kernel(Geometry g, const uint8_t* gate, const T* q, const T* k, const T* v,
                   int64_t q_stride, int64_t k_stride, int64_t v_stride, T* selected, T* other,
                   float* lse) {
  constexpr int kWidth = kC * kSide, kPitch = kWidth + 1;
  float* queries = dynamic_shared_memory<float>();  // [rows][pitch]
  float* keys = queries + kRows * kPitch;           // [keys][pitch]
  float* values = keys + kKeys * kPitch;            // [keys][pitch]
  float* scores = values + kKeys * kPitch;          // [rows][score pitch]
  // The last tiles of a sequence cost most: they start first.
  const QueryTile t =
      query_tile(g, gate, g.tiles.all_query_tiles - 1 - int32_t(blockIdx.x), int32_t(blockIdx.y));
  if (g.streaming_only && t.full) return;
  load_rows(g, t, q, q_stride, kWidth, kPitch, queries);
  Running<kC> run;
#pragma unroll
  for (int a = 0; a < kRowsEach; ++a) {
    run.most[a] = -std::numeric_limits<float>::infinity();
    run.total[a] = 0;
#pragma unroll
    for (int j = 0; j < kC; ++j) run.sums[a][j] = 0;
  }
  const QueryTilePlan plan = plan_query_tile(g.rule, t.begin, t.end);
  visit_keys<kC>(g, t, plan.streaming, true, k, v, k_stride, v_stride, queries, keys, values,
                 scores, run);
  T* streaming_out = t.full ? other : selected;
  if (streaming_out != nullptr) write_rows(g, t, run, streaming_out, t.full ? nullptr : lse);
  T* full_out = t.full ? selected : other;
  if (full_out == nullptr) return;
  visit_keys<kC>(g, t, plan.rest, false, k, v, k_stride, v_stride, queries, keys, values, scores,
                 run);
  write_rows(g, t, run, full_out, t.full ? lse : nullptr);
}

}  // namespace

template <class T>
void routed_attention_forward(const AttentionForwardArgs& args, const SequenceTiles& tiles,
                              Pairs pairs, Device& device, Stream stream) {
  if (args.kernels >= AttentionKernels::hopper &&
      hopper_takes(dtype_of<T>, args, {args.q, args.k, args.v}) && hopper_runs()) {
    return hopper_attention_forward(args, tiles, pairs, device, stream);
  }
  if (args.kernels >= AttentionKernels::mma &&
      tensor_cores_take(dtype_of<T>, args.shape, {args.q, args.k, args.v})) {
    return mma_attention_forward(args, tiles, pairs, stream);
  }
  const Geometry g = geometry_of(args, tiles, pairs);
  with_columns(args.shape.head_dim, [&]<int kC>() {
    const LaunchShape shape{dim3(unsigned(tiles.all_query_tiles), unsigned(g.kv_heads)),
                            dim3(kAttentionThreads), shared_bytes(kC, 1, 1)};
    launch("routed_attention_forward", forward_kernel<kC, T>, shape, stream, g, args.gate,
           static_cast<const T*>(args.q.data), static_cast<const T*>(args.k.data),
           static_cast<const T*>(args.v.data), args.q.token_stride, args.k.token_stride,
           args.v.token_stride, static_cast<T*>(args.selected), static_cast<T*>(args.other),
           static_cast<float*>(args.lse));
  });
}

template void routed_attention_forward<float>(const AttentionForwardArgs&, const SequenceTiles&,
                                              Pairs, Device&, Stream);
template void routed_attention_forward<bf16>(const AttentionForwardArgs&, const SequenceTiles&,
                                             Pairs, Device&, Stream);

std::string attention_kernels(DType dtype) {
  if (dtype != DType::bf16) return "plain kernels";
  if (!hopper_runs()) return "tensor cores (mma)";
  return "sm_90a kernels (wgmma, TMA) forward, tensor cores (mma) backward";
}

}  // namespace elastron::ops::cuda
