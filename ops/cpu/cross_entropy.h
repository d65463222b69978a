// CPU back end of ops/cross_entropy.h.
#pragma once
#include <limits>

#include "core/dtype.h"
#include "ops/cpu/parallel_for.h"
#include "ops/cross_entropy.h"
#include "ops/detail/vector_math.h"

namespace elastron::ops::cpu {

template <class T>
void cross_entropy_rows(const T* logits, const int32_t* labels, int64_t rows, int64_t shard,
                        int64_t first_id, accumulator_t<T>* max, accumulator_t<T>* sum_exp,
                        accumulator_t<T>* target, int32_t* argmax) {
  using A = accumulator_t<T>;
  parallel_rows(rows, 4 * shard, [=](int64_t row) {
    const T* l = logits + row * shard;
    A largest = -std::numeric_limits<A>::infinity();
#pragma omp simd reduction(max : largest)
    for (int64_t i = 0; i < shard; ++i) largest = A(l[i]) > largest ? A(l[i]) : largest;
    int64_t first = 0;
    while (first < shard && !(A(l[first]) == largest)) ++first;
    A sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < shard; ++i) sum += detail::fast_exp(A(l[i]) - largest);
    max[row] = largest;
    sum_exp[row] = sum;
    argmax[row] = int32_t(first_id + (first < shard ? first : 0));
    const int64_t label = int64_t(labels[row]) - first_id;
    target[row] = label >= 0 && label < shard ? A(l[label]) : A(0);
  });
}

template <class T>
void cross_entropy_backward(T* logits, const int32_t* labels, const accumulator_t<T>* lse,
                            int64_t rows, int64_t shard, int64_t first_id, double scale) {
  using A = accumulator_t<T>;
  const A s = A(scale);
  parallel_rows(rows, 4 * shard, [=](int64_t row) {
    T* l = logits + row * shard;
    if (labels[row] == kIgnoreLabel) {
      for (int64_t i = 0; i < shard; ++i) l[i] = T(A(0));
      return;
    }
    const A row_lse = lse[row];
    const int64_t label = int64_t(labels[row]) - first_id;
    const bool here = label >= 0 && label < shard;
    const A label_logit = here ? A(l[label]) : A(0);
#pragma omp simd
    for (int64_t i = 0; i < shard; ++i) l[i] = T(detail::fast_exp(A(l[i]) - row_lse) * s);
    if (here) l[label] = T((detail::fast_exp(label_logit - row_lse) - A(1)) * s);
  });
}

}  // namespace elastron::ops::cpu
