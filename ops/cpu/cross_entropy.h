// CPU back end of ops/cross_entropy.h: plain pointers, everything checked by the caller.
#pragma once
#include <algorithm>
#include <limits>

#include "core/dtype.h"
#include "ops/cpu/parallel_for.h"
#include "ops/cross_entropy.h"
#include "ops/detail/cross_entropy_math.h"
#include "ops/detail/vector_math.h"

namespace elastron::ops::cpu {

template <class T>
accumulator_t<T> largest_of(const T* x, int64_t n) {
  using A = accumulator_t<T>;
  A largest = -std::numeric_limits<A>::infinity();
#pragma omp simd reduction(max : largest)
  for (int64_t i = 0; i < n; ++i) largest = A(x[i]) > largest ? A(x[i]) : largest;
  return largest;
}

// Index of the first element equal to `value`; 0 when there is none (NaN). Whole blocks are looked
// through without a branch.
template <class T>
int64_t first_equal(const T* x, accumulator_t<T> value, int64_t n) {
  using A = accumulator_t<T>;
  constexpr int64_t kBlock = 256;
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    const int64_t end = std::min(n, begin + kBlock);
    int32_t found = 0;
#pragma omp simd reduction(| : found)
    for (int64_t i = begin; i < end; ++i) found |= A(x[i]) == value ? 1 : 0;
    if (found == 0) continue;
    for (int64_t i = begin; i < end; ++i) {
      if (A(x[i]) == value) return i;
    }
  }
  return 0;
}

template <class T>
accumulator_t<T> sum_of_exp(const T* x, accumulator_t<T> shift, int64_t n) {
  using A = accumulator_t<T>;
  A sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) sum += detail::fast_exp(A(x[i]) - shift);
  return sum;
}

// x -> exp(x - lse) scale
template <class T>
void scaled_softmax_row(T* x, accumulator_t<T> lse, accumulator_t<T> scale, int64_t n) {
  using A = accumulator_t<T>;
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) detail::put(x[i], detail::fast_exp(A(x[i]) - lse) * scale);
}

template <class T>
void cross_entropy_rows(const T* logits, const int32_t* labels, int64_t rows, int64_t shard,
                        int64_t first_id, double* parts) {
  using A = accumulator_t<T>;
  parallel_rows(rows, 4 * shard, [=](int64_t row) {
    const T* l = logits + row * shard;
    const A largest = largest_of(l, shard);
    const int64_t label = int64_t(labels[row]) - first_id;
    const auto part = [=](int i) -> double& { return parts[i * rows + row]; };
    part(detail::kPartMax) = double(largest);
    part(detail::kPartSumExp) = double(sum_of_exp(l, largest, shard));
    part(detail::kPartArgmax) = double(first_id + first_equal(l, largest, shard));
    part(detail::kPartTarget) = label >= 0 && label < shard ? double(A(l[label])) : 0.0;
  });
}

template <class A>
void cross_entropy_combine(const double* parts, int64_t shards, int64_t rows, A* lse, double* loss,
                           int32_t* argmax) {
  for (int64_t row = 0; row < rows; ++row) {
    const auto whole = detail::combine_row(parts, shards, rows, row);
    lse[row] = A(whole.lse);
    loss[row] = whole.loss;
    argmax[row] = whole.argmax;
  }
}

template <class T>
void cross_entropy_backward(T* logits, const int32_t* labels, const accumulator_t<T>* lse,
                            int64_t rows, int64_t shard, int64_t first_id, double scale) {
  using A = accumulator_t<T>;
  const A s = A(scale);
  parallel_rows(rows, 4 * shard, [=](int64_t row) {
    T* l = logits + row * shard;
    if (labels[row] == kIgnoreLabel) {
      std::fill(l, l + shard, T(A(0)));
      return;
    }
    const int64_t label = int64_t(labels[row]) - first_id;
    const bool here = label >= 0 && label < shard;
    // From the logit itself: p - 1 is rounded once, not twice.
    const A at_label = here ? (detail::fast_exp(A(l[label]) - lse[row]) - A(1)) * s : A(0);
    scaled_softmax_row(l, lse[row], s, shard);
    if (here) l[label] = T(at_label);
  });
}

}  // namespace elastron::ops::cpu
