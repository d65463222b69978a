// The block of experts alone: its gradient by finite differences, a document packed and alone, and an
// MLP where all experts are the same.
#include "model/expert_mlp.h"

#include <gtest/gtest.h>

#include "model/mlp.h"
#include "ops/elementwise.h"
#include "tests/support/gradcheck.h"

namespace elastron::model {
namespace {

using test::random_tensor;

class ExpertBlock : public ::testing::Test {
 protected:
  static ModelConfig shapes(bool normalise) {
    ModelConfig c;
    c.hidden_size = 10;
    c.intermediate_size = 6;
    c.num_layers = 1;
    c.q_heads = c.kv_heads = 2;
    c.head_dim = 4;
    c.vocab_size = 11;
    c.experts = ExpertConfig{
        .count = 5, .per_token = 2, .width = 6, .normalise = normalise, .dense_layers = {}};
    return c;
  }
  template <class Block>
  void fill(Block& block, double scale) {
    ParameterList list;
    block.append_parameters(list);
    uint64_t seed = 1;
    for (Parameter* p : list) {
      Tensor values = random_tensor(p->value.shape(), DType::f64, cpu_, seed++);
      ops::scale_into(values, scale);
      ops::cast_into(values, p->value);
    }
  }
  CpuDevice cpu_;
  parallel::SelfCommunicator self_{"tensor"};
};

// Of all modes: recomputed with what was chosen.
TEST_F(ExpertBlock, HasTheGradientOfItsInput) {
  for (const bool normalise : {false, true}) {
    for (const Recompute recompute : {Recompute::none, Recompute::selective, Recompute::layer}) {
      ExpertMlp block(0, shapes(normalise), {.dtype = DType::f64, .recompute = recompute}, self_,
                      cpu_);
      fill(block, 0.7);
      Tensor x = random_tensor({9, 10}, DType::f64, cpu_, 50);
      const Tensor d = random_tensor({9, 10}, DType::f64, cpu_, 51);
      SavedExpertMlp saved;
      ExpertLoad load;
      block.forward(x, &saved, &load);
      EXPECT_EQ(load.bounds.to_vector<int32_t>().back(), 18);
      EXPECT_EQ(saved.gate_up.has_value(), recompute == Recompute::none);
      if (recompute == Recompute::layer) saved.input = x.clone();
      const Tensor gradient = block.backward(d.clone(), saved);
      test::expect_gradient(
          x, gradient, [&] { return test::dot(block.forward(x, nullptr), d); },
          normalise ? "normalised" : "softmax");
    }
  }
}

// The experts that were chosen count, whatever an input that is computed again would choose.
TEST_F(ExpertBlock, KeepsWhatWasChosen) {
  ExpertMlp block(0, shapes(true), {.dtype = DType::f64, .recompute = Recompute::layer}, self_,
                  cpu_);
  fill(block, 0.7);
  const Tensor x = random_tensor({9, 10}, DType::f64, cpu_, 50);
  const Tensor d = random_tensor({9, 10}, DType::f64, cpu_, 51);
  const auto gradient_with = [&](int32_t first, int32_t second) {
    SavedExpertMlp saved;
    block.forward(x, &saved);
    saved.input = x;
    saved.experts = saved.experts.clone();
    saved.experts.data<int32_t>()[0] = first;
    saved.experts.data<int32_t>()[1] = second;
    return block.backward(d.clone(), saved).to_vector<double>();
  };
  EXPECT_NE(gradient_with(0, 1), gradient_with(3, 4));
}

TEST_F(ExpertBlock, ADocumentIsTheSamePackedAndAlone) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    ExpertMlp block(0, shapes(true), {.dtype = dtype}, self_, cpu_);
    fill(block, 0.7);
    const Tensor x = random_tensor({700, 10}, dtype, cpu_, 50);
    const Tensor d = random_tensor({700, 10}, dtype, cpu_, 51);
    const auto both = [&](int64_t begin, int64_t end) {
      SavedExpertMlp saved;
      const Tensor part = x.slice(0, begin, end).clone();
      Tensor y = ops::cast(block.forward(part, &saved), DType::f32);
      const Tensor dx = block.backward(d.slice(0, begin, end).clone(), saved);
      auto values = y.to_vector<float>();
      const auto more = ops::cast(dx, DType::f32).to_vector<float>();
      values.insert(values.end(), more.begin(), more.end());
      return values;
    };
    const auto all = both(0, 700);
    for (const auto& [begin, end] : {std::pair<int64_t, int64_t>{0, 1}, {3, 40}, {650, 700}}) {
      const auto own = both(begin, end);
      const auto size = size_t(end - begin) * 10;
      for (size_t i = 0; i < size; ++i) {
        ASSERT_EQ(own[i], all[size_t(begin) * 10 + i]) << begin;
        ASSERT_EQ(own[size + i], all[7000 + size_t(begin) * 10 + i]) << begin;
      }
    }
  }
}

// Weights that add up to 1 of the same experts.
TEST_F(ExpertBlock, OfTheSameExpertsIsAnMlp) {
  const ModelConfig config = shapes(true);
  const DecoderOptions options{.dtype = DType::f64};
  ExpertMlp block(0, config, options, self_, cpu_);
  Mlp mlp(0, config, options, self_, cpu_);
  fill(block, 0.7);
  fill(mlp, 0.7);
  ParameterList of_block, of_mlp;
  block.append_parameters(of_block);
  mlp.append_parameters(of_mlp);
  for (Parameter* p : of_block) {
    for (const Parameter* q : of_mlp) {
      const auto leaf = q->name.substr(q->name.rfind('.', q->name.size() - 8));
      if (p->name.ends_with(leaf) || p->name == q->name) p->value.copy_from(q->value);
    }
  }
  const Tensor x = random_tensor({9, 10}, DType::f64, cpu_, 50);
  const Tensor d = random_tensor({9, 10}, DType::f64, cpu_, 51);
  SavedExpertMlp saved;
  SavedMlp saved_mlp;
  const auto a = block.forward(x, &saved).to_vector<double>(),
             b = mlp.forward(x, &saved_mlp).to_vector<double>(),
             da = block.backward(d.clone(), saved).to_vector<double>(),
             db = mlp.backward(d.clone(), saved_mlp, [](Parameter&) {}).to_vector<double>();
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_NEAR(a[i], b[i], 1e-12);
    EXPECT_NEAR(da[i], db[i], 1e-12);
  }
}

}  // namespace
}  // namespace elastron::model
