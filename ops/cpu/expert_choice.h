// CPU back end of ops/expert_choice.h: checked by the front.
#pragma once
#include <algorithm>
#include <array>

#include "ops/cpu/parallel_for.h"
#include "ops/detail/topk_math.h"
#include "ops/detail/vector_math.h"
#include "ops/expert_choice.h"

namespace elastron::ops::cpu {

template <class T>
void choose_experts(const T* logits, int64_t tokens, int64_t experts, int64_t k, int32_t* chosen) {
  using A = accumulator_t<T>;
  parallel_rows(tokens, experts * k, [=](int64_t t) {
    const T* row = logits + t * experts;
    int32_t* out = chosen + t * k;
    std::array<bool, kMostExperts> taken{};
    for (int64_t j = 0; j < k; ++j) {
      int64_t best = -1;
      for (int64_t e = 0; e < experts; ++e) {
        if (taken[size_t(e)]) continue;
        if (best < 0 || detail::order_key(A(row[e])) > detail::order_key(A(row[best]))) best = e;
      }
      taken[size_t(best)] = true;
      out[j] = int32_t(best);
    }
    std::sort(out, out + k);
  });
}

// A token's softmax: over the chosen logits, or over all.
template <class T, class A = accumulator_t<T>>
struct TokenSoftmax {
  const T* row;
  A most, sum = 0;

  TokenSoftmax(const T* logits, int64_t experts, const int32_t* chosen, int64_t k, bool normalise)
      : row(logits) {
    const int64_t terms = normalise ? k : experts;
    const auto logit = [=](int64_t i) { return A(logits[normalise ? chosen[i] : i]); };
    most = logit(0);
    for (int64_t i = 1; i < terms; ++i) most = std::max(most, logit(i));
    for (int64_t i = 0; i < terms; ++i) sum += detail::fast_exp(logit(i) - most);
  }
  A operator()(int64_t expert) const { return detail::fast_exp(A(row[expert]) - most) / sum; }
};

template <class T, class A = accumulator_t<T>>
void expert_weights(const T* logits, const int32_t* chosen, int64_t tokens, int64_t experts,
                    int64_t k, bool normalise, A* weights) {
  parallel_rows(tokens, experts, [=](int64_t t) {
    const int32_t* of = chosen + t * k;
    const TokenSoftmax<T> softmax(logits + t * experts, experts, of, k, normalise);
    for (int64_t j = 0; j < k; ++j) weights[t * k + j] = softmax(of[j]);
  });
}

template <class T, class A = accumulator_t<T>>
void expert_weights_backward(const A* d_weights, const T* logits, const int32_t* chosen,
                             int64_t tokens, int64_t experts, int64_t k, bool normalise,
                             T* d_logits) {
  parallel_rows(tokens, experts, [=](int64_t t) {
    const int32_t* of = chosen + t * k;
    const A* g = d_weights + t * k;
    T* d = d_logits + t * experts;
    const TokenSoftmax<T> softmax(logits + t * experts, experts, of, k, normalise);
    A mean = 0;
    for (int64_t j = 0; j < k; ++j) mean += g[j] * softmax(of[j]);
    for (int64_t e = 0; e < experts; ++e) {
      detail::put(d[e], normalise ? A(0) : -softmax(e) * mean);
    }
    for (int64_t j = 0; j < k; ++j) detail::put(d[of[j]], softmax(of[j]) * (g[j] - mean));
  });
}

}  // namespace elastron::ops::cpu
