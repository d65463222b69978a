// Linear, RMSNorm, RoPE, SwiGLU, embedding, cross-entropy, AdamW, elementwise: gradients by finite
// differences, the same bits for any number of threads. Other precisions: precision_test.cpp.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "ops/adamw.h"
#include "ops/cross_entropy.h"
#include "ops/detail/vector_math.h"
#include "ops/elementwise.h"
#include "ops/embedding.h"
#include "ops/linear.h"
#include "ops/rms_norm.h"
#include "ops/rms_norm_rope.h"
#include "ops/rope.h"
#include "ops/swiglu.h"
#include "tests/support/gradcheck.h"
#include "tests/support/thread_counts.h"

namespace elastron::ops {
namespace {

using test::dot;
using test::expect_gradient;
using test::random_tensor;

class Ops : public ::testing::Test {
 protected:
  Tensor rnd(const Shape& shape, uint64_t seed, DType dtype = DType::f64) {
    return random_tensor(shape, dtype, cpu_, seed);
  }
  Tensor zeros(const Shape& shape) { return Tensor::zeros(shape, DType::f64, cpu_); }
  CpuDevice cpu_;
};

TEST_F(Ops, LinearGradients) {
  Tensor x = rnd({5, 7}, 1), w = rnd({3, 7}, 2), b = rnd({3}, 3);
  const Tensor dy = rnd({5, 3}, 4);
  const LinearWeight weight(w, WeightForm::in_place);
  const auto loss = [&] { return dot(linear_forward(x, weight, b), dy); };
  Tensor dw = zeros({3, 7}), db = zeros({3});
  linear_wgrad(dy, x, dw);
  linear_bias_grad(dy, db);
  expect_gradient(x, linear_dgrad(dy, weight), loss, "x");
  expect_gradient(w, dw, loss, "w");
  expect_gradient(b, db, loss, "b");
}

// Largest error over the largest value.
double relative_error(const Tensor& got, const Tensor& want) {
  const auto g = cast(got, DType::f64).to_vector<double>();
  const auto w = cast(want, DType::f64).to_vector<double>();
  double worst = 0, scale = 0;
  for (size_t i = 0; i < g.size(); ++i) {
    worst = std::max(worst, std::abs(g[i] - w[i]));
    scale = std::max(scale, std::abs(w[i]));
  }
  return worst / std::max(scale, 1e-30);
}

// Other precisions: precision_test.cpp.
TEST_F(Ops, LinearGradientAddsToWhatIsThere) {
  const Tensor dy = rnd({4, 5}, 2), there = rnd({4, 6}, 4);
  const LinearWeight w(rnd({5, 6}, 3), WeightForm::in_place);
  const Tensor sum = linear_dgrad(dy, w, there.clone());
  EXPECT_LT(relative_error(sum, add(there, linear_dgrad(dy, w))), 1e-14);
}

// The rounding of bfloat16: 8 bits, in each operand and in the result.
constexpr double kBfloatRounding = 3.0 / 256;

// Activations and weight are of two dtypes: the same products as with the weight as it is stored,
// exactly where nothing else is rounded. Sides that are and are not multiples of the parts that are
// converted at a time (1024 rows, 2^20 weights).
TEST_F(Ops, LinearWithAWeightStoredInAnotherType) {
  struct Case {
    int64_t rows, out, in;
  };
  for (const Case c : {Case{3, 5, 7}, Case{1030, 33, 48}, Case{2, 700, 2000}, Case{5, 0, 4}}) {
    SCOPED_TRACE(testing::Message() << c.rows << " x " << c.out << " x " << c.in);
    const Tensor stored = cast(rnd({c.out, c.in}, 2), DType::bf16);
    const Tensor x = rnd({c.rows, c.in}, 1, DType::f32), dy = rnd({c.rows, c.out}, 3, DType::f32);
    const Tensor bias = rnd({c.out}, 4, DType::f32), sum = rnd({c.rows, c.in}, 5, DType::f32);
    const LinearWeight plain(cast(stored, DType::f64), WeightForm::in_place);
    const auto wide = [](const Tensor& t) { return cast(t, DType::f64); };
    const Tensor y = linear_forward(wide(x), plain, wide(bias));
    Tensor dx = wide(sum);
    linear_dgrad(wide(dy), plain, dx);
    for (const WeightForm form : {WeightForm::in_place, WeightForm::packed}) {
      const LinearWeight weight(stored, form);
      Tensor dx_got = sum.clone();
      linear_dgrad(dy, weight, dx_got);
      EXPECT_LT(relative_error(linear_forward(x, weight, bias), y), 2e-6);
      EXPECT_LT(relative_error(dx_got, dx), 2e-6);
    }
    // The other way round: activations in bfloat16, the weight in float32.
    const LinearWeight weight(cast(stored, DType::f32), WeightForm::in_place);
    const auto half = [](const Tensor& t) { return cast(t, DType::bf16); };
    EXPECT_LT(relative_error(linear_forward(half(x), weight, half(bias)), y), kBfloatRounding);
    EXPECT_LT(relative_error(linear_dgrad(half(dy), weight), linear_dgrad(wide(dy), plain)),
              kBfloatRounding);
  }
}

// A scale per block, and one per row, of values that a small type would hold.
TEST_F(Ops, LinearWithAQuantisedWeight) {
  const int64_t rows = 4, out = 10, in = 21;
  const Tensor values = cast(rnd({out, in}, 1), DType::bf16);
  const Tensor x = rnd({rows, in}, 2), dy = rnd({rows, out}, 3);
  for (const auto& [out_block, in_block] : {std::pair<int64_t, int64_t>{4, 8}, {1, in}}) {
    const int64_t down = (out + out_block - 1) / out_block, across = (in + in_block - 1) / in_block;
    const Tensor scale = rnd({down, across}, 4, DType::f32);
    Tensor whole = cast(values, DType::f64);
    for (int64_t i = 0; i < out * in; ++i) {
      const int64_t block = i / in / out_block * across + i % in / in_block;
      whole.data<double>()[i] *= double(scale.data<float>()[block]);
    }
    const LinearWeight exact(whole, WeightForm::in_place);
    const LinearWeight weight(values, WeightScale{scale, out_block, in_block});
    EXPECT_EQ(relative_error(linear_forward(x, weight), linear_forward(x, exact)), 0);
    EXPECT_EQ(relative_error(linear_dgrad(dy, weight), linear_dgrad(dy, exact)), 0);
    for (const auto& [t, bound] : {std::pair{DType::f32, 2e-6}, {DType::bf16, kBfloatRounding}}) {
      EXPECT_LT(relative_error(linear_forward(cast(x, t), weight), linear_forward(x, exact)),
                bound);
    }
  }
  EXPECT_THROW(LinearWeight(values, WeightScale{rnd({2, 3}, 4, DType::f32), 4, 8}), LogicError);
}

TEST_F(Ops, RmsNormGradients) {
  Tensor x = rnd({4, 6}, 1), w = rnd({6}, 2);
  const Tensor dy = rnd({4, 6}, 3);
  constexpr double kEps = 1e-3;
  const auto loss = [&] { return dot(rms_norm_forward(x, w, kEps).y, dy); };
  const auto out = rms_norm_forward(x, w, kEps);
  Tensor dw = zeros({6});
  const Tensor dx = rms_norm_backward(dy, x, w, out.inv_rms, {}, &dw);
  expect_gradient(x, dx, loss, "x");
  expect_gradient(w, dw, loss, "w");
  Tensor sum = dy.clone();
  rms_norm_backward(dy, x, w, out.inv_rms, sum, nullptr);
  EXPECT_LT(relative_error(sum, add(dy, dx)), 1e-14);
}

TEST_F(Ops, RopeRotatesAndTurnsBack) {
  const Tensor table = rope_table(8, {.theta = 10000.0}, 32, DType::f64, cpu_);
  // Frequencies 1, 0.1, 0.01, 0.001.
  for (int i = 0; i < 4; ++i) {
    EXPECT_NEAR(table.data<double>()[7 * 8 + i], std::cos(7 * std::pow(0.1, i)), 1e-15);
    EXPECT_NEAR(table.data<double>()[7 * 8 + 4 + i], std::sin(7 * std::pow(0.1, i)), 1e-15);
  }
  const Tensor positions = Tensor::from(std::vector<int32_t>{0, 3, 31}, {3}, cpu_);
  const Tensor x = rnd({3, 2, 8}, 1);
  Tensor y = x.clone();
  rope_apply(y, positions, table, false);
  const double *a = x.data<double>(), *b = y.data<double>();
  for (int i = 0; i < 16; ++i) EXPECT_EQ(a[i], b[i]);  // position 0 does not turn
  EXPECT_NEAR(b[16], a[16] * std::cos(3.0) - a[20] * std::sin(3.0), 1e-14);
  EXPECT_NEAR(b[20], a[20] * std::cos(3.0) + a[16] * std::sin(3.0), 1e-14);
  rope_apply(y, positions, table, true);
  EXPECT_LT(relative_error(y, x), 1e-14);
}

// Wavelengths 2 pi theta^(i / 4): below original / high they are kept, above original / low they
// are stretched by the factor, between the two in parts.
TEST_F(Ops, RopeScalingOfLlama3) {
  const double theta = 10000.0, factor = 8, low = 1, high = 4, original = 200;
  const RopeRule rule{.theta = theta,
                      .scaling = Llama3RopeScaling{.factor = factor,
                                                   .low_freq_factor = low,
                                                   .high_freq_factor = high,
                                                   .original_max_position = original}};
  const Tensor table = rope_table(8, rule, 4, DType::f64, cpu_);
  int kept = 0, stretched = 0, between = 0;
  for (int i = 0; i < 4; ++i) {
    const double plain = std::pow(theta, -i / 4.0), wavelength = 2 * M_PI / plain;
    double want = plain;
    if (wavelength > original / low) {
      want = plain / factor;
      ++stretched;
    } else if (wavelength < original / high) {
      ++kept;
    } else {
      const double smooth = (original / wavelength - low) / (high - low);
      want = (1 - smooth) * plain / factor + smooth * plain;
      ++between;
    }
    EXPECT_NEAR(table.data<double>()[3 * 8 + 4 + i], std::sin(3 * want), 1e-14) << i;
  }
  EXPECT_TRUE(kept > 0 && stretched > 0 && between > 0);
}

// A table with a scale: what is turned back is multiplied by it once more, which is the gradient and
// not the inverse.
TEST_F(Ops, RopeGradientsThroughAScaledTable) {
  const RopeRule rule{.theta = 100.0,
                      .scaling = YarnRopeScaling{.factor = 4,
                                                 .original_max_position = 16,
                                                 .attention_factor = 1.3,
                                                 .beta_fast = 4,
                                                 .truncate = false}};
  const Tensor table = rope_table(8, rule, 40, DType::f64, cpu_);
  const auto frequencies = rope_frequencies(8, rule, DType::f64);
  for (int i = 0; i < 4; ++i) {
    const double angle = 30 * frequencies.inverse[size_t(i)];
    EXPECT_NEAR(table.data<double>()[30 * 8 + i], 1.3 * std::cos(angle), 1e-14);
    EXPECT_NEAR(table.data<double>()[30 * 8 + 4 + i], 1.3 * std::sin(angle), 1e-14);
  }
  const Tensor positions = Tensor::from(std::vector<int32_t>{0, 3, 39}, {3}, cpu_);
  Tensor x = rnd({3, 2, 8}, 1), w = rnd({8}, 2);
  const Tensor dy = rnd({3, 2, 8}, 3);
  Tensor dx = dy.clone();
  rope_apply(dx, positions, table, true);
  const auto turned = [&] {
    Tensor y = x.clone();
    rope_apply(y, positions, table, false);
    return dot(y, dy);
  };
  expect_gradient(x, dx, turned, "x");
  // With the norm before it, as Qwen3 has it.
  constexpr double kEps = 1e-3;
  const auto loss = [&] { return dot(rms_norm_rope_forward(x, w, kEps, positions, table).y, dy); };
  const auto out = rms_norm_rope_forward(x, w, kEps, positions, table);
  Tensor dw = zeros({8}), d = dy.clone();
  const Tensor normed = rms_norm_rope_backward(d, x, w, out.inv_rms, positions, table, &dw);
  expect_gradient(x, normed, loss, "x before the norm");
  expect_gradient(w, dw, loss, "w");
}

TEST_F(Ops, SwigluAndSiluGradients) {
  Tensor gate = rnd({3, 5}, 1), up = rnd({3, 5}, 2);
  const Tensor dh = rnd({3, 5}, 3);
  const auto loss = [&] { return dot(swiglu_forward(gate, up), dh); };
  const auto d = swiglu_backward(dh, gate, up, false);
  expect_gradient(gate, d.gate, loss, "gate");
  expect_gradient(up, d.up, loss, "up");
  expect_gradient(
      gate, silu_backward(dh, gate), [&] { return dot(silu_forward(gate), dh); }, "silu");
  Tensor g2 = gate.clone(), u2 = up.clone();
  const auto in_place = swiglu_backward(dh, g2, u2, true);
  EXPECT_EQ(in_place.gate.to_vector<double>(), d.gate.to_vector<double>());
  EXPECT_EQ(in_place.up.to_vector<double>(), d.up.to_vector<double>());
  EXPECT_EQ(in_place.gate.raw(), g2.raw());
}

TEST_F(Ops, EmbeddingAndItsGradient) {
  Tensor table = rnd({4, 3}, 1);
  const Tensor ids = Tensor::from(std::vector<int32_t>{5, 2, 9, 2, 3}, {5}, cpu_);
  const Tensor dy = rnd({5, 3}, 2);
  // Rows 2 to 5 are here; 9 lies in another shard.
  const auto loss = [&] { return dot(embedding_forward(ids, table, 2), dy); };
  Tensor dtable = zeros({4, 3});
  embedding_backward(dy, ids, 2, dtable);
  expect_gradient(table, dtable, loss, "table");
  const auto y = embedding_forward(ids, table, 2).to_vector<double>();
  for (int i = 6; i < 9; ++i) EXPECT_EQ(y[size_t(i)], 0.0);
}

TEST_F(Ops, CrossEntropyGradient) {
  Tensor logits = rnd({4, 6}, 1);
  const Tensor labels = Tensor::from(std::vector<int32_t>{2, kIgnoreLabel, 5, 0}, {4}, cpu_);
  const auto lse = [&] {
    const auto r = cross_entropy_rows(logits, labels, 0);
    std::vector<double> v(4);
    for (int i = 0; i < 4; ++i) {
      v[size_t(i)] = r.max.data<double>()[i] + std::log(r.sum_exp.data<double>()[i]);
    }
    return v;
  };
  const auto loss = [&] {
    const auto r = cross_entropy_rows(logits, labels, 0);
    const auto l = lse();
    double sum = 0;
    for (int i : {0, 2, 3}) sum += l[size_t(i)] - r.target.data<double>()[i];
    return 0.5 * sum;
  };
  Tensor d = logits.clone();
  cross_entropy_backward(d, labels, Tensor::from(lse(), {4}, cpu_), 0, 0.5);
  expect_gradient(logits, d, loss, "logits");
  Tensor extreme = Tensor::from(std::vector<float>{1e4f, -1e4f, 0}, {1, 3}, cpu_);
  const auto r = cross_entropy_rows(extreme, Tensor::from(std::vector<int32_t>{1}, {1}, cpu_), 0);
  EXPECT_EQ(r.max.data<double>()[0], 1e4);
  EXPECT_EQ(r.sum_exp.data<double>()[0], 1.0);
  EXPECT_EQ(r.argmax.data<double>()[0], 0.0);
}

TEST(FastExp, WithinTwoUlpEverywhere) {
  double worst = 0;
  for (float x = -87.3f; x < 88.7f; x += 0.00037f) {
    const double want = std::exp(double(x));
    const double got = double(detail::fast_exp(x));
    const double ulp = std::ldexp(1.0, std::ilogb(want) - 23);
    worst = std::max(worst, std::abs(got - want) / ulp);
  }
  EXPECT_LT(worst, 2.0);
  const float inf = std::numeric_limits<float>::infinity();
  EXPECT_EQ(detail::fast_exp(-inf), 0.0f);
  EXPECT_EQ(detail::fast_exp(-1e30f), 0.0f);
  EXPECT_EQ(detail::fast_exp(inf), inf);
  EXPECT_EQ(detail::fast_exp(1e30f), inf);
  EXPECT_EQ(detail::fast_exp(0.0f), 1.0f);
  EXPECT_TRUE(std::isnan(detail::fast_exp(std::numeric_limits<float>::quiet_NaN())));
}

TEST_F(Ops, ReductionsSeeEverything) {
  Tensor x = rnd({9000}, 1, DType::f32);
  double want = 0;
  for (const float v : x.to_vector<float>()) want += double(v) * double(v);
  EXPECT_NEAR(sum_of_squares(x), want, 1e-9 * want);
  EXPECT_TRUE(all_finite(x));
  for (const float bad : {std::numeric_limits<float>::infinity(), std::nanf("")}) {
    Tensor y = x.clone();
    y.data<float>()[8999] = bad;
    EXPECT_FALSE(all_finite(y));
  }
}

// Every op, twice: once on one thread, once on three. Bit for bit.
TEST_F(Ops, ThreadCountChangesNothing) {
  const auto everything = [&] {
    const Tensor x = rnd({700, 96}, 1, DType::f32), w = rnd({96}, 2, DType::f32);
    const Tensor dy = rnd({700, 96}, 3, DType::f32);
    std::vector<Tensor> results;
    const auto norm = rms_norm_forward(x, w, 1e-6);
    Tensor dw = Tensor::zeros({96}, DType::f32, cpu_), db = dw.clone();
    results.push_back(norm.y);
    results.push_back(rms_norm_backward(dy, x, w, norm.inv_rms, {}, &dw));
    linear_bias_grad(dy, db);
    results.push_back(dw);
    results.push_back(db);
    results.push_back(swiglu_forward(x, dy));
    std::vector<int32_t> ids(700);
    for (size_t i = 0; i < ids.size(); ++i) ids[i] = int32_t(i * 7 % 50);
    Tensor table = Tensor::zeros({50, 96}, DType::f32, cpu_);
    embedding_backward(dy, Tensor::from(ids, {700}, cpu_), 0, table);
    results.push_back(table);
    const auto rows = cross_entropy_rows(x, Tensor::from(ids, {700}, cpu_), 0);
    results.push_back(rows.sum_exp);
    Tensor norm2 = Tensor::from(std::vector<double>{sum_of_squares(x)}, {1}, cpu_);
    results.push_back(norm2);
    return results;
  };
  test::expect_same_on_any_threads(everything);
}

TEST_F(Ops, AdamWFollowsItsFormula) {
  for (const bool maximize : {false, true}) {
    Tensor p = rnd({50}, 1), m = zeros({50}), v = zeros({50});
    auto want = p.to_vector<double>();
    std::vector<double> wm(50), wv(50);
    const AdamWSettings s{.lr = 0.01, .weight_decay = 0.1, .maximize = maximize};
    for (int step = 1; step <= 5; ++step) {
      const Tensor g = rnd({50}, uint64_t(10) + uint64_t(step));
      adamw_step(p, g, m, v, nullptr, s, step, 0.5);
      for (size_t i = 0; i < 50; ++i) {
        const double gi = (maximize ? -0.5 : 0.5) * g.data<double>()[i];
        wm[i] = 0.9 * wm[i] + 0.1 * gi;
        wv[i] = 0.95 * wv[i] + 0.05 * gi * gi;
        const double mh = wm[i] / (1 - std::pow(0.9, step));
        const double vh = wv[i] / (1 - std::pow(0.95, step));
        want[i] = want[i] * (1 - 0.01 * 0.1) - 0.01 * mh / (std::sqrt(vh) + 1e-8);
      }
    }
    const auto got = p.to_vector<double>();
    for (size_t i = 0; i < 50; ++i) EXPECT_NEAR(got[i], want[i], 1e-12);
  }
}

TEST_F(Ops, AdamWRoundsTheModelsCopy) {
  Tensor master = rnd({300}, 1, DType::f32), g = rnd({300}, 2, DType::f32);
  Tensor m = Tensor::zeros({300}, DType::f32, cpu_), v = m.clone();
  Tensor copy = cast(master, DType::bf16);
  adamw_step(master, g, m, v, &copy, {.lr = 0.1}, 1, 1.0);
  const auto a = master.to_vector<float>();
  const auto b = copy.to_vector<bf16>();
  for (size_t i = 0; i < a.size(); ++i) EXPECT_EQ(b[i].bits, bf16(a[i]).bits);
}

}  // namespace
}  // namespace elastron::ops
