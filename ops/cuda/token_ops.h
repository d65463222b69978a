// CUDA back ends of ops/rope.h, ops/embedding.h, ops/boundary_pool.h and ops/cross_entropy.h:
// device pointers, everything checked by the caller. `segments` and `runs` lie on the device too.
#pragma once
#include <cstdint>

#include "core/ceil_div.h"
#include "core/cuda/stream.h"
#include "core/dtype.h"
#include "ops/boundary_pool.h"

namespace elastron::ops::cuda {

using elastron::cuda::Stream;

template <class T>
void rope_apply(T* x, int64_t token_stride, const int32_t* positions, const accumulator_t<T>* table,
                int64_t tokens, int64_t heads, int64_t head_dim, bool transposed, Stream stream);

template <class T>
void embedding_forward(const int32_t* ids, const T* table, T* y, int64_t tokens, int64_t rows,
                       int64_t hidden, int64_t first_row, Stream stream);
template <class T>
void embedding_backward(const T* dy, const int32_t* ids, accumulator_t<T>* dtable, int64_t tokens,
                        int64_t rows, int64_t hidden, int64_t first_row, Stream stream);

// k: rows of `width` elements, `stride` apart; pooled [count, width].
template <class T>
void boundary_pool_forward(const T* k, int64_t stride, int64_t width, const PoolSegment* segments,
                           int64_t count, const PoolRule& rule, accumulator_t<T>* pooled,
                           Stream stream);
// `longest`: tokens that one segment pools, at most: what the grid is made for.
template <class T>
void boundary_pool_backward(const accumulator_t<T>* d_pooled, int64_t stride, int64_t width,
                            const PoolSegment* segments, int64_t count, int64_t longest,
                            const PoolRule& rule, T* dk, Stream stream);

template <class T>
void cross_entropy_rows(const T* logits, const int32_t* labels, int64_t rows, int64_t shard,
                        int64_t first_id, double* parts, Stream stream);
// A: float or double.
template <class A>
void cross_entropy_combine(const double* parts, int64_t shards, int64_t rows, A* lse, double* loss,
                           int32_t* argmax, Stream stream);
// A grid's second dimension ends at 65,535: more rows go in several launches.
inline constexpr int64_t kCrossEntropyRows = 32768;
constexpr int64_t cross_entropy_backward_launches(int64_t rows, int64_t shard) {
  return shard == 0 ? 0 : ceil_div(rows, kCrossEntropyRows);
}
template <class T>
void cross_entropy_backward(T* logits, const int32_t* labels, const accumulator_t<T>* lse,
                            int64_t rows, int64_t shard, int64_t first_id, double scale,
                            Stream stream);

}  // namespace elastron::ops::cuda
