// Dense ops in float32 and bfloat16: as exact as plain loops in the same precision
// (tests/support/precision.h). What double precision gives is the op itself in float64, whose
// formulas finite differences check (dense_ops_test.cpp).
#include "tests/support/precision.h"

#include <map>

#include "ops/cross_entropy.h"
#include "ops/linear.h"
#include "ops/rms_norm.h"
#include "ops/rope.h"
#include "ops/swiglu.h"
#include "tests/support/gradcheck.h"

namespace elastron::ops {
namespace {

using test::doubles;
using test::expect_as_exact_as;
using test::rounded;

// The plain loops compute in float32 and round to the tensor's dtype where a value is stored.
class Precision : public ::testing::TestWithParam<DType> {
 protected:
  DType t() const { return GetParam(); }
  double store(double x) const { return rounded(x, t()); }
  // Numbers that the dtype holds.
  Tensor rnd(const Shape& shape, uint64_t seed) {
    return test::random_tensor(shape, t(), cpu_, seed);
  }
  static Tensor exactly(const Tensor& x) { return cast(x, DType::f64); }

  // a [m, k] b [k, n] with any strides, summed one product after another in float32.
  struct Matrix {
    std::vector<double> values;
    int64_t row = 1, column = 1;
    float at(int64_t r, int64_t c) const { return float(values[size_t(r * row + c * column)]); }
  };
  static std::vector<double> product(const Matrix& a, const Matrix& b, int64_t m, int64_t k,
                                     int64_t n, DType stored) {
    std::vector<double> out;
    for (int64_t i = 0; i < m; ++i) {
      for (int64_t j = 0; j < n; ++j) {
        float sum = 0;
        for (int64_t l = 0; l < k; ++l) sum += a.at(i, l) * b.at(l, j);
        out.push_back(rounded(sum, stored));
      }
    }
    return out;
  }

  // All products of one linear layer, by the name of the result.
  void check_linear(int64_t rows, int64_t out, int64_t in, uint64_t seed, const std::string& what,
                    std::map<std::string, test::Exactness>& of) {
    const Tensor x = rnd({rows, in}, seed + 1), w = rnd({out, in}, seed + 2);
    const Tensor dy = rnd({rows, out}, seed + 3), bias = rnd({out}, seed + 4);
    const LinearWeight exact(exactly(w), WeightForm::in_place);
    const auto vx = doubles(x), vw = doubles(w), vdy = doubles(dy);
    const auto y = product({vx, in, 1}, {vw, 1, in}, rows, in, out, t());
    const auto dx = product({vdy, out, 1}, {vw, in, 1}, rows, out, in, t());
    const auto want_y = doubles(linear_forward(exactly(x), exact));
    const auto want_dx = doubles(linear_dgrad(exactly(dy), exact));
    for (const WeightForm form : {WeightForm::in_place, WeightForm::packed}) {
      const LinearWeight weight(w, form);
      for (int repeat = 0; repeat < 2; ++repeat) {
        of["y"].add(y, want_y, linear_forward(x, weight), what);
        of["dx"].add(dx, want_dx, linear_dgrad(dy, weight), what);
      }
    }
    const LinearWeight weight(w, WeightForm::in_place);
    std::vector<double> with_bias, twice, want_twice = want_dx;
    const auto vb = doubles(bias);
    for (size_t i = 0; i < y.size(); ++i) {
      with_bias.push_back(store(float(y[i]) + float(vb[i % size_t(out)])));
    }
    of["y with bias"].add(with_bias, doubles(linear_forward(exactly(x), exact, exactly(bias))),
                          linear_forward(x, weight, bias), what);
    // The product is added to what is there.
    const Tensor sum = rnd({rows, in}, seed + 5);
    const auto vs = doubles(sum);
    for (size_t i = 0; i < dx.size(); ++i) {
      twice.push_back(store(float(dx[i]) + float(vs[i])));
      want_twice[i] += vs[i];
    }
    of["dx added"].add(twice, want_twice, linear_dgrad(dy, weight, sum.clone()), what);
    Tensor dw = Tensor::zeros({out, in}, DType::f32, cpu_), dw64 = cast(dw, DType::f64);
    linear_wgrad(dy, x, dw);
    linear_wgrad(exactly(dy), exactly(x), dw64);
    of["dw"].add(product({vdy, 1, out}, {vx, in, 1}, out, rows, in, DType::f32), doubles(dw64), dw,
                 what);
  }

  CpuDevice cpu_;
};

// A packed weight is packed on first use and reused then.
TEST_P(Precision, Linear) {
  constexpr int64_t kNumbers = 64;  // of an output at least, over all draws
  for (const int64_t rows : {1, 3, 16, 65, 300}) {
    for (const auto& [out, in] : {std::pair<int64_t, int64_t>{1, 5}, {64, 48}, {130, 257}}) {
      const std::string what =
          std::to_string(rows) + " x " + std::to_string(in) + " x " + std::to_string(out);
      std::map<std::string, test::Exactness> of;
      for (int64_t draw = 0; draw * rows * out < kNumbers; ++draw) {
        check_linear(rows, out, in, 10 * draw, what, of);
      }
      for (const auto& [result, exactness] : of) exactness.expect(result + " " + what);
    }
  }
}

TEST_P(Precision, RmsNorm) {
  constexpr double kEps = 1e-6;
  for (const auto& [rows, n] : {std::pair<int64_t, int64_t>{1, 1}, {7, 33}, {40, 512}}) {
    const Tensor x = rnd({rows, n}, 1), w = rnd({n}, 2), dy = rnd({rows, n}, 3);
    const auto vx = doubles(x), vw = doubles(w), vdy = doubles(dy);
    std::vector<double> y, dx, inv_rms, dw(size_t(n), 0.0);
    for (int64_t r = 0; r < rows; ++r) {
      const auto at = [&](const std::vector<double>& v, int64_t i) {
        return float(v[size_t(r * n + i)]);
      };
      float squares = 0, along = 0;
      for (int64_t i = 0; i < n; ++i) squares += at(vx, i) * at(vx, i);
      const float inv = 1 / std::sqrt(squares / float(n) + float(kEps));
      inv_rms.push_back(inv);
      for (int64_t i = 0; i < n; ++i) along += at(vdy, i) * float(vw[size_t(i)]) * at(vx, i);
      for (int64_t i = 0; i < n; ++i) {
        const float normed = float(store(at(vx, i) * inv)), weight = float(vw[size_t(i)]);
        y.push_back(store(normed * weight));
        dx.push_back(store(inv * (at(vdy, i) * weight - at(vx, i) * inv * inv * along / float(n))));
        dw[size_t(i)] = float(dw[size_t(i)]) + at(vdy, i) * normed;
      }
    }
    const std::string what = std::to_string(rows) + " x " + std::to_string(n);
    const auto exact = rms_norm_forward(exactly(x), exactly(w), kEps);
    const auto ours = rms_norm_forward(x, w, kEps);
    expect_as_exact_as(y, doubles(exact.y), ours.y, "y " + what);
    expect_as_exact_as(inv_rms, doubles(exact.inv_rms), ours.inv_rms, "inv_rms " + what);
    Tensor own_dw = Tensor::zeros({n}, DType::f32, cpu_), exact_dw = cast(own_dw, DType::f64);
    const Tensor own_dx = rms_norm_backward(dy, x, w, ours.inv_rms, {}, &own_dw);
    const Tensor exact_dx =
        rms_norm_backward(exactly(dy), exactly(x), exactly(w), exact.inv_rms, {}, &exact_dw);
    expect_as_exact_as(dx, doubles(exact_dx), own_dx, "dx " + what);
    expect_as_exact_as(dw, doubles(exact_dw), own_dw, "dw " + what);
  }
}

TEST_P(Precision, Rope) {
  constexpr int64_t kTokens = 9, kHeads = 3, kDim = 16;
  const Tensor table = rope_table(kDim, {.theta = 1e4}, 64, DType::f32, cpu_);
  std::vector<int32_t> places(size_t{kTokens});
  for (int64_t i = 0; i < kTokens; ++i) places[size_t(i)] = int32_t(7 * i);
  const Tensor positions = Tensor::from(places, {kTokens}, cpu_);
  const Tensor x = rnd({kTokens, kHeads, kDim}, 1);
  const auto vx = doubles(x), angles = doubles(table);
  for (const bool inverse : {false, true}) {
    std::vector<double> peer = vx;
    for (int64_t row = 0; row < kTokens * kHeads; ++row) {
      const int64_t place = places[size_t(row / kHeads)] * kDim;
      for (int64_t i = 0; i < kDim / 2; ++i) {
        const float c = float(angles[size_t(place + i)]);
        const float s = float(angles[size_t(place + kDim / 2 + i)]) * (inverse ? -1 : 1);
        const auto low = size_t(row * kDim + i), high = low + size_t(kDim / 2);
        const float a = float(vx[low]), b = float(vx[high]);
        peer[low] = store(a * c - b * s);
        peer[high] = store(b * c + a * s);
      }
    }
    // The same angles: how they are rounded is the table's contract.
    Tensor ours = x.clone(), exact = exactly(x);
    rope_apply(ours, positions, table, inverse);
    rope_apply(exact, positions, exactly(table), inverse);
    expect_as_exact_as(peer, doubles(exact), ours, inverse ? "turned back" : "turned");
  }
}

TEST_P(Precision, Swiglu) {
  // Large ones too: there the exponential is all but zero, or its sigmoid all but one.
  Tensor gate = rnd({50, 37}, 1);
  scale_into(gate, 4.0);
  const Tensor up = rnd({50, 37}, 2), dh = rnd({50, 37}, 3);
  const auto vg = doubles(gate), vu = doubles(up), vdh = doubles(dh);
  std::vector<double> h, d_gate, d_up;
  for (size_t i = 0; i < vg.size(); ++i) {
    const float g = float(vg[i]), u = float(vu[i]), d = float(vdh[i]);
    const float sigmoid = 1 / (1 + std::exp(-g)), silu = g * sigmoid;
    h.push_back(store(float(store(silu)) * u));
    d_gate.push_back(store(d * u * sigmoid * (1 + g * (1 - sigmoid))));
    d_up.push_back(store(d * float(store(silu))));
  }
  const auto exact = swiglu_backward(exactly(dh), exactly(gate), exactly(up), false);
  const auto ours = swiglu_backward(dh, gate, up, false);
  expect_as_exact_as(h, doubles(swiglu_forward(exactly(gate), exactly(up))),
                     swiglu_forward(gate, up), "h");
  expect_as_exact_as(d_gate, doubles(exact.gate), ours.gate, "d gate");
  expect_as_exact_as(d_up, doubles(exact.up), ours.up, "d up");
}

TEST_P(Precision, CrossEntropy) {
  constexpr int64_t kRows = 13, kVocab = 211, kFirst = 30;
  Tensor logits = rnd({kRows, kVocab}, 1);
  scale_into(logits, 3.0);
  std::vector<int32_t> ids;
  for (int64_t r = 0; r < kRows; ++r) ids.push_back(int32_t(kFirst + r * 16 % kVocab));
  const Tensor labels = Tensor::from(ids, {kRows}, cpu_);
  const auto v = doubles(logits);
  std::vector<double> sums, lse, d;
  constexpr double kScale = 0.25;
  for (int64_t r = 0; r < kRows; ++r) {
    const auto begin = v.begin() + r * kVocab, end = begin + kVocab;
    const float largest = float(*std::max_element(begin, end));
    float sum = 0;
    for (auto x = begin; x < end; ++x) sum += std::exp(float(*x) - largest);
    sums.push_back(sum);
    lse.push_back(float(largest + std::log(sum)));
    for (int64_t i = 0; i < kVocab; ++i) {
      const bool label = ids[size_t(r)] == kFirst + i;
      const float p = std::exp(float(begin[i]) - float(lse.back()));
      d.push_back(store((p - (label ? 1.0F : 0.0F)) * float(kScale)));
    }
  }
  const auto exact = cross_entropy_rows(exactly(logits), labels, kFirst);
  const auto ours = cross_entropy_rows(logits, labels, kFirst);
  // Computed in float32, whatever the logits are.
  expect_as_exact_as(sums, doubles(exact.sum_exp), cast(ours.sum_exp, DType::f32), "sum of exp");
  EXPECT_EQ(doubles(ours.max), doubles(exact.max));
  EXPECT_EQ(doubles(ours.target), doubles(exact.target));
  const auto parts = [&](const CrossEntropyRows& rows) { return rows.parts.view({1, 4, kRows}); };
  const auto whole = cross_entropy_combine(parts(ours), DType::f32);
  const auto exact_whole = cross_entropy_combine(parts(exact), DType::f64);
  expect_as_exact_as(lse, doubles(exact_whole.lse), whole.lse, "lse");
  Tensor own_d = logits.clone(), exact_d = exactly(logits);
  cross_entropy_backward(own_d, labels, whole.lse, kFirst, kScale);
  cross_entropy_backward(exact_d, labels, exact_whole.lse, kFirst, kScale);
  expect_as_exact_as(d, doubles(exact_d), own_d, "d logits");
}

INSTANTIATE_TEST_SUITE_P(DTypes, Precision, ::testing::Values(DType::f32, DType::bf16),
                         [](const auto& each) { return std::string(dtype_name(each.param)); });

}  // namespace
}  // namespace elastron::ops
