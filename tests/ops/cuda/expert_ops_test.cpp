// Mixtures of experts on the GPU, against the CPU.
#include "core/matrix_stack.h"
#include "ops/converted_weights.h"
#include "ops/dequantise.h"
#include "ops/expert_choice.h"
#include "ops/expert_rows.h"
#include "ops/grouped_linear.h"
#include "ops/quantise.h"
#include "tests/ops/cuda/both_devices.h"

namespace elastron::ops {
namespace {

class CudaExperts : public test::BothDevices {
 protected:
  Tensor rnd(const Shape& shape, uint64_t seed, DType dtype) {
    return test::random_tensor(shape, dtype, cpu_, seed);
  }
  Tensor ints(const std::vector<int32_t>& values) {
    return Tensor::from(values, {int64_t(values.size())}, cpu_);
  }
};

// The same experts, ties and all: logits of few bits have many.
TEST_F(CudaExperts, ChooseAlike) {
  for (const DType t : {DType::f64, DType::f32, DType::bf16}) {
    for (const auto& [experts, k] :
         {std::pair<int64_t, int64_t>{3, 1}, {128, 8}, {70, 33}, {1024, 64}}) {
      const std::string what = std::string(dtype_name(t)) + " " + std::to_string(experts);
      Tensor logits = rnd({21, experts}, 3, t);
      if (t != DType::bf16) logits = cast(cast(logits, DType::bf16), t);
      for (const bool normalise : {false, true}) {
        const ExpertRule rule{.per_token = k, .normalise = normalise};
        const auto a = choose_experts(logits, rule), b = choose_experts(on_gpu(logits), rule);
        expect_same(a.experts, b.experts, "experts, " + what, 0);
        expect_same(a.weights, b.weights, "weights, " + what);
        const Tensor d = rnd({21, k}, 4, accumulator_dtype(t));
        expect_same(expert_weights_backward(d, logits, a.experts, rule),
                    expert_weights_backward(on_gpu(d), on_gpu(logits), b.experts, rule),
                    "d logits, " + what);
      }
    }
  }
}

TEST_F(CudaExperts, RowsByExpertAndBack) {
  for (const DType t : {DType::f64, DType::f32, DType::bf16}) {
    for (const int64_t n : {5, 72, 600}) {
      const std::string what = std::string(dtype_name(t)) + " " + std::to_string(n);
      const auto choice = choose_experts(rnd({150, 7}, 1, t), {3, true});
      const ExpertRows a = rows_by_expert(choice.experts, 7),
                       b = rows_by_expert(on_gpu(choice.experts), 7);
      expect_same(a.bounds, b.bounds, "bounds", 0);
      expect_same(a.tokens, b.tokens, "tokens", 0);
      expect_same(a.slots, b.slots, "slots", 0);
      expect_same(a.places, b.places, "places", 0);
      const Tensor h = rnd({450, n}, 2, t);
      expect_same(sum_expert_rows(h, a, 150, choice.weights),
                  sum_expert_rows(on_gpu(h), b, 150, on_gpu(choice.weights)), "sums " + what);
      expect_same(sum_expert_rows(h, a, 150), sum_expert_rows(on_gpu(h), b, 150),
                  "plain sums " + what);
      Tensor d = rnd({450, n}, 3, t), gd = on_gpu(d);
      const Tensor w = weigh_expert_gradient(d, h, a, choice.weights);
      const Tensor gw = weigh_expert_gradient(gd, on_gpu(h), b, on_gpu(choice.weights));
      expect_same(d, gd, "d h " + what);
      expect_same(w, gw, "d weights " + what);
    }
  }
}

// Groups of no row, one, a few and more than a tile; widths for tensor cores, with and without rests,
// and others; tiles of both sizes.
TEST_F(CudaExperts, ProductsOfGroups) {
  struct Widths {
    int64_t out, in;
  };
  for (const DType t : {DType::f64, DType::f32, DType::bf16}) {
    for (const Widths w : {Widths{24, 40}, {136, 72}, {10, 13}}) {
      for (const auto& bounds : {std::vector<int32_t>{0, 1, 1, 34, 40}, {0, 0, 130, 131, 300}}) {
        if (t != DType::bf16 && (bounds.back() > 100 || w.out > 100)) continue;
        const int64_t rows = bounds.back();
        std::vector<int32_t> index;
        for (int32_t i = 0; i < rows; ++i) index.push_back(i * 7 % 23);
        const std::string what = std::string(dtype_name(t)) + " " + std::to_string(w.out) + " x " +
                                 std::to_string(w.in) + ", rows " + std::to_string(rows);
        const Tensor numbers = rnd({4, w.out, w.in}, 1, t);
        const GroupedWeight weights(numbers, WeightForm::packed);
        const GroupedWeight there(on_gpu(numbers), WeightForm::packed);
        const RowGroups taken{ints(bounds), ints(index)}, plain{ints(bounds), {}};
        const auto over = [&](const RowGroups& g) {
          return RowGroups{on_gpu(g.bounds), on_gpu(g.rows)};
        };
        const Tensor x = rnd({23, w.in}, 2, t), d = rnd({23, w.out}, 3, t);
        expect_same(grouped_linear_forward(x, weights, taken),
                    grouped_linear_forward(on_gpu(x), there, over(taken)), "taken " + what);
        expect_same(grouped_linear_dgrad(d, weights, taken),
                    grouped_linear_dgrad(on_gpu(d), there, over(taken)), "d taken " + what);
        const Tensor all = rnd({rows, w.in}, 4, t), d_all = rnd({rows, w.out}, 5, t);
        expect_same(grouped_linear_forward(all, weights, plain),
                    grouped_linear_forward(on_gpu(all), there, over(plain)), "y " + what);
        Tensor sum = rnd({rows, w.in}, 6, t), gpu_sum = on_gpu(sum);
        grouped_linear_dgrad(d_all, weights, plain, sum);
        grouped_linear_dgrad(on_gpu(d_all), there, over(plain), gpu_sum);
        expect_same(sum, gpu_sum, "sum with dx " + what);
      }
    }
  }
}

// Weights that are converted: all groups', or of some at a time, with the same bits.
TEST_F(CudaExperts, ProductsWithQuantisedWeights) {
  if (gpu_ == nullptr) return;
  const std::vector<int32_t> bounds = {0, 1, 1, 34, 40, 90};
  for (const auto& [out, in] : {std::pair<int64_t, int64_t>{24, 40}, {10, 13}}) {
    Tensor values = Tensor::empty({5, out, in}, DType::e4m3, cpu_);
    WeightScale scale{
        .values = {}, .out_block = 16, .in_block = 8, .out_offset = 4, .in_offset = 0};
    const Shape blocks = scale.shape_for(out, in);
    scale.values = rnd({5, blocks[0], blocks[1]}, 9, DType::f32);
    for (int64_t g = 0; g < 5; ++g) {
      matrix_of(values, g).copy_from(quantise(rnd({out, in}, uint64_t(g), DType::f32), {}).values);
    }
    WeightScale gpu_scale = scale;
    gpu_scale.values = on_gpu(scale.values);
    const GroupedWeight cpu(values, scale), gpu(on_gpu(values), gpu_scale);
    for (const DType t : {DType::f64, DType::f32, DType::bf16}) {
      const std::string what = std::string(dtype_name(t)) + " " + values.shape().str();
      expect_same(dequantise(values, scale, t), dequantise(gpu.tensor(), gpu.scale(), t), what, 0);
      const Tensor x = rnd({90, in}, 2, t), d = rnd({90, out}, 3, t), before = rnd({90, in}, 4, t);
      const RowGroups here{ints(bounds), {}}, there{on_gpu(ints(bounds)), {}};
      const auto of_cpu = grouped_linear_forward(x, cpu, here);
      Tensor sum = before.clone();
      grouped_linear_dgrad(d, cpu, here, sum);
      for (const int64_t most : {int64_t(1) << 26, 2 * out * in}) {
        gpu_->attached<ConvertedWeights>().most = most;
        expect_same(of_cpu, grouped_linear_forward(on_gpu(x), gpu, there), "y " + what);
        Tensor gpu_sum = on_gpu(before);
        grouped_linear_dgrad(on_gpu(d), gpu, there, gpu_sum);
        expect_same(sum, gpu_sum, "sum with dx " + what);
      }
      gpu_->attached<ConvertedWeights>() = {};
    }
  }
}

// A row is what it is alone, in tiles of either size.
TEST_F(CudaExperts, GroupsGiveARowTheSameBitsInAnyCompany) {
  if (gpu_ == nullptr) return;
  const std::vector<int32_t> bounds = {0, 130, 131, 260};
  const GroupedWeight w(on_gpu(rnd({3, 24, 72}, 1, DType::bf16)), WeightForm::packed);
  const Tensor x = rnd({260, 72}, 2, DType::bf16);
  const Tensor whole = grouped_linear_forward(on_gpu(x), w, {on_gpu(ints(bounds)), {}}).on_host();
  for (const int64_t r : {0, 77, 129, 130, 131, 259}) {
    std::vector<int32_t> alone;
    for (const int32_t b : bounds) alone.push_back(b > r ? 1 : 0);
    const Tensor own =
        grouped_linear_forward(on_gpu(x.slice(0, r, r + 1).clone()), w, {on_gpu(ints(alone)), {}});
    expect_same(whole.slice(0, r, r + 1).clone(), own, "row " + std::to_string(r), 0);
  }
}

TEST_F(CudaExperts, OfNoRows) {
  if (gpu_ == nullptr) return;
  const Tensor none = Tensor::empty({0, 8}, DType::bf16, *gpu_);
  const auto choice = choose_experts(none, {2, true});
  const ExpertRows rows = rows_by_expert(choice.experts, 8);
  EXPECT_EQ(rows.bounds.to_vector<int32_t>(), std::vector<int32_t>(9, 0));
  const GroupedWeight w(on_gpu(rnd({8, 16, 8}, 1, DType::bf16)), WeightForm::packed);
  const Tensor y = grouped_linear_forward(none, w, {rows.bounds, rows.tokens});
  EXPECT_EQ(y.size(0), 0);
  EXPECT_EQ(sum_expert_rows(y, rows, 0).size(0), 0);
}

}  // namespace
}  // namespace elastron::ops
