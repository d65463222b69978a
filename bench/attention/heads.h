// Inputs of the attention benchmarks on the CPU.
#pragma once
#include <cmath>
#include <random>
#include <vector>

#include "ops/routed_attention.h"

namespace elastron::bench {

struct HeadShape {
  int64_t tokens, q_heads, kv_heads, head_dim;
  DType dtype;
};

// Queries, keys and values of one sequence. Runs of 512 tokens share a topic out of sixteen, which
// both queries and keys carry: rows look back at few blocks, as those of a trained model do, so
// that XAttention has something to leave out. Nothing else depends on the numbers.
inline ops::RoutedAttentionInput topical_heads(const HeadShape& s, const std::vector<int32_t>& cu,
                                               Device& device) {
  constexpr int64_t kRun = 512;
  constexpr int kTopics = 16;
  std::mt19937_64 engine(1);
  std::normal_distribution<float> normal;
  std::vector<float> topics(size_t(kTopics * s.head_dim));
  for (float& x : topics) x = normal(engine);
  std::vector<int> topic_of(size_t((s.tokens + kRun - 1) / kRun));
  for (int& t : topic_of) t = int(engine() % kTopics);

  const auto heads = [&](int64_t count, float weight) {
    std::vector<float> values(size_t(s.tokens * count * s.head_dim));
    for (size_t i = 0; i < values.size(); ++i) {
      const auto token = int64_t(i) / (count * s.head_dim);
      const auto at = size_t(topic_of[size_t(token / kRun)]) * size_t(s.head_dim);
      values[i] = normal(engine) + weight * topics[at + i % size_t(s.head_dim)];
    }
    const Shape shape{s.tokens, count, s.head_dim};
    if (s.dtype == DType::f32) return Tensor::from(values, shape, device);
    return Tensor::from(std::vector<bf16>(values.begin(), values.end()), shape, device);
  };
  return {.q = heads(s.q_heads, 1),
          .k = heads(s.kv_heads, 1),
          .v = heads(s.kv_heads, 0),
          .varlen = {cu},
          .softmax_scale = 1 / std::sqrt(double(s.head_dim))};
}

inline Tensor gates(int64_t kv_heads, bool open, Device& device) {
  return Tensor::from(std::vector<uint8_t>(size_t(kv_heads), open ? 1 : 0), Shape{1, kv_heads},
                      device);
}

}  // namespace elastron::bench
