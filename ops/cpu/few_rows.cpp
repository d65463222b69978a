#include "ops/cpu/few_rows.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <vector>

#include "ops/cpu/dequantise.h"
#include "ops/cpu/parallel_for.h"
#include "ops/detail/vector_math.h"
#include "ops/linear.h"

namespace elastron::ops::cpu {

namespace {

// A register of float32. Plain vectors of GCC: loops that the compiler is to vectorise by itself
// keep their sums in memory here.
#if defined(__AVX512F__)
constexpr int kLanes = 16, kRowsAtOnce = 8;
#else
constexpr int kLanes = 8, kRowsAtOnce = 4;
#endif
using Lanes __attribute__((vector_size(kLanes * sizeof(float)))) = float;
using Halves __attribute__((vector_size(kLanes * sizeof(uint16_t)))) = uint16_t;
using Words __attribute__((vector_size(kLanes * sizeof(uint32_t)))) = uint32_t;

inline Lanes load(const float* from) {
  Lanes x;
  std::memcpy(&x, from, sizeof x);
  return x;
}
inline Lanes load(const bf16* from) {
  Halves x;
  std::memcpy(&x, from, sizeof x);
  return std::bit_cast<Lanes>(__builtin_convertvector(x, Words) << 16);
}

// sums[r][o] = <row r of x, row o of w>. The order of a sum depends on `in` alone.
template <int R, int O, class W>
void multiply_tile(const float* x, const W* w, int64_t in, float (&sums)[R][O]) {
  Lanes lanes[R][O] = {};
  int64_t i = 0;
  for (; i + kLanes <= in; i += kLanes) {
    Lanes weight[O];
    for (int o = 0; o < O; ++o) weight[o] = load(w + o * in + i);
    for (int r = 0; r < R; ++r) {
      const Lanes values = load(x + r * in + i);
      for (int o = 0; o < O; ++o) lanes[r][o] += values * weight[o];
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int o = 0; o < O; ++o) {
      float sum = 0;
      for (int l = 0; l < kLanes; ++l) sum += lanes[r][o][l];
      for (int64_t j = i; j < in; ++j) sum += x[r * in + j] * float(w[o * in + j]);
      sums[r][o] = sum;
    }
  }
}

template <class W, class Y>
struct FewRows {
  const float* x;  // [rows, in]
  const W* w;      // [out, in]
  const Y* bias;   // [out], or null
  Y* y;            // [rows, out]
  int64_t rows, out, in;

  template <int R, int O>
  void tile(int64_t row, int64_t o) const {
    float sums[R][O];
    multiply_tile<R, O>(x + row * in, w + o * in, in, sums);
    for (int r = 0; r < R; ++r) {
      for (int j = 0; j < O; ++j) {
        const float add = bias == nullptr ? 0.0f : float(bias[o + j]);
        detail::put(y[(row + r) * out + o + j], sums[r][j] + add);
      }
    }
  }
  // Of O outputs all rows, while their weights are in the nearest cache.
  template <int O>
  void outputs(int64_t o) const {
    int64_t row = 0;
    if constexpr (kRowsAtOnce == 8) {
      for (; row + 8 <= rows; row += 8) tile<8, O>(row, o);
    }
    for (; row + 4 <= rows; row += 4) tile<4, O>(row, o);
    for (; row + 2 <= rows; row += 2) tile<2, O>(row, o);
    for (; row < rows; ++row) tile<1, O>(row, o);
  }
  void range(int64_t begin, int64_t end) const {
    int64_t o = begin;
    // One row alone needs several sums under way.
    if (rows == 1) {
      for (; o + 8 <= end; o += 8) tile<1, 8>(0, o);
    }
    for (; o + 2 <= end; o += 2) outputs<2>(o);
    for (; o < end; ++o) outputs<1>(o);
  }
};

}  // namespace

bool few_rows_fit(const Tensor& x, const WeightView& w) {
  const auto small = [](DType t) { return t == DType::f32 || t == DType::bf16; };
  const DType stored = w.values.dtype();
  return x.size(0) <= kRowsAlike && small(x.dtype()) &&
         (w.scale.defined() ? stored == DType::e4m3 : small(stored));
}

namespace {

template <class X>
std::vector<float> as_floats(const Tensor& x) {
  const X* from = x.data<X>();
  std::vector<float> values(size_t(x.numel()));
  for (size_t i = 0; i < values.size(); ++i) values[i] = float(from[i]);
  return values;
}

// A weight in e4m3 is converted kAtOnce outputs at a time, which stay in the nearest cache.
template <class Y>
void scaled_range(const FewRows<float, Y>& product, const WeightView& w, int64_t begin,
                  int64_t end) {
  constexpr int64_t kAtOnce = 8;
  const detail::ScaleView scale(w.scale);
  const auto* values = w.values.data<e4m3>();
  std::vector<float> some(size_t(kAtOnce * product.in));
  for (int64_t o = begin; o < end; o += kAtOnce) {
    const int64_t n = std::min(kAtOnce, end - o);
    for (int64_t j = 0; j < n; ++j) {
      dequantise_row(values + (o + j) * product.in, scale, o + j, 0, product.in,
                     some.data() + j * product.in);
    }
    FewRows<float, Y> of_these = product;
    of_these.w = some.data();
    of_these.y += o;
    if (of_these.bias != nullptr) of_these.bias += o;
    of_these.range(0, n);
  }
}

}  // namespace

void few_rows_forward(const Tensor& x, const WeightView& w, const Tensor& bias, Tensor& y) {
  const int64_t rows = x.size(0), in = x.size(1), out = w.values.size(0);
  const std::vector<float> values =
      x.dtype() == DType::bf16 ? as_floats<bf16>(x) : as_floats<float>(x);
  const auto run = [&]<class W, class Y>(const W* weights) {
    const FewRows<W, Y> product{
        values.data(), weights, bias.defined() ? bias.data<Y>() : nullptr, y.data<Y>(), rows,
        out,           in};
    parallel_ranges(out, rows * in, [&](int64_t begin, int64_t end) {
      if constexpr (std::is_same_v<W, float>) {
        if (w.scale.defined()) return scaled_range<Y>(product, w, begin, end);
      }
      product.range(begin, end);
    });
  };
  const auto for_results = [&]<class Y>() {
    if (w.scale.defined()) {
      run.template operator()<float, Y>(nullptr);
    } else if (w.values.dtype() == DType::bf16) {
      run.template operator()<bf16, Y>(w.values.data<bf16>());
    } else {
      run.template operator()<float, Y>(w.values.data<float>());
    }
  };
  if (y.dtype() == DType::bf16) {
    for_results.template operator()<bf16>();
  } else {
    for_results.template operator()<float>();
  }
}

}  // namespace elastron::ops::cpu
