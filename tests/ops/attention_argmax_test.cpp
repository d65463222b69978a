// The strongest key of a query against a loop that reads every number.
#include "ops/attention_argmax.h"

#include <gtest/gtest.h>

#include "ops/elementwise.h"
#include "tests/support/gradcheck.h"

namespace elastron::ops {
namespace {

using test::random_tensor;

// In float64, whatever the tensors are.
std::vector<int32_t> naive(const Tensor& q, const Tensor& k, std::span<const QueryRow> rows) {
  const auto a = cast(q, DType::f64).to_vector<double>(),
             b = cast(k, DType::f64).to_vector<double>();
  const int64_t q_heads = q.size(1), kv_heads = k.size(1), dim = q.size(2);
  std::vector<int32_t> out;
  for (const QueryRow& row : rows) {
    for (int64_t h = 0; h < q_heads; ++h) {
      const int64_t kv = h * kv_heads / q_heads;
      int32_t best = -1;
      double most = 0;
      for (int32_t j = row.first_key; j <= row.query; ++j) {
        double sum = 0;
        for (int64_t i = 0; i < dim; ++i) {
          sum += a[size_t((row.query * q_heads + h) * dim + i)] *
                 b[size_t((j * kv_heads + kv) * dim + i)];
        }
        if (best < 0 || sum > most) {
          best = j;
          most = sum;
        }
      }
      out.push_back(best);
    }
  }
  return out;
}

// Sequences of ragged lengths, one after another.
std::vector<QueryRow> all_rows(std::initializer_list<int32_t> lengths) {
  std::vector<QueryRow> rows;
  int32_t begin = 0;
  for (const int32_t length : lengths) {
    for (int32_t i = 0; i < length; ++i) rows.push_back({begin + i, begin});
    begin += length;
  }
  return rows;
}

TEST(AttentionArgmax, IsTheNaiveLoop) {
  CpuDevice cpu;
  const auto rows = all_rows({1, 63, 2, 130});
  for (const auto& [q_heads, kv_heads, dim] :
       {std::tuple<int64_t, int64_t, int64_t>{8, 2, 32}, {3, 3, 7}, {4, 1, 128}}) {
    for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
      const Tensor q = random_tensor({196, q_heads, dim}, dtype, cpu, 1);
      const Tensor k = random_tensor({196, kv_heads, dim}, dtype, cpu, 2);
      const Tensor out = attention_argmax(q, k, rows);
      EXPECT_EQ(out.shape(), (Shape{int64_t(rows.size()), q_heads}));
      EXPECT_EQ(out.to_vector<int32_t>(), naive(q, k, rows)) << dtype_name(dtype);
    }
  }
}

TEST(AttentionArgmax, OfEqualKeysTheFirst) {
  CpuDevice cpu;
  const Tensor q = Tensor::from(std::vector<float>(40, 1.0f), {10, 2, 2}, cpu);
  std::vector<float> keys(20, 0.5f);
  keys[6] = keys[14] = 2.0f;  // tokens 3 and 7
  const Tensor k = Tensor::from(keys, {10, 1, 2}, cpu);
  const std::vector<QueryRow> rows = {{9, 0}, {9, 4}, {2, 0}, {9, 8}, {5, 5}};
  EXPECT_EQ(attention_argmax(q, k, rows).to_vector<int32_t>(),
            (std::vector<int32_t>{3, 3, 7, 7, 0, 0, 8, 8, 5, 5}));
}

TEST(AttentionArgmax, WithoutRowsThereIsNothing) {
  CpuDevice cpu;
  const Tensor q = random_tensor({4, 2, 8}, DType::f32, cpu, 1);
  EXPECT_EQ(attention_argmax(q, q, {}).numel(), 0);
}

}  // namespace
}  // namespace elastron::ops
