#include "ops/cpu/few_rows.h"

#include <algorithm>
#include <vector>

#include "ops/cpu/amx.h"
#include "ops/cpu/dequantise.h"
#include "ops/cpu/parallel_for.h"
#include "ops/cpu/simd.h"
#include "ops/detail/vector_math.h"
#include "ops/linear.h"

namespace elastron::ops::cpu {

namespace {

constexpr int kLanes = ops::cpu::kLanes<float>;
constexpr int kRowsAtOnce = kLanes == 16 ? 8 : 4;  // as there are registers

inline vec<float> load_as_float(const float* from) { return load<float>(from); }
inline vec<float> load_as_float(const bf16* from) { return load_bf16(from); }

constexpr int64_t kLineBytes = 64;
// Weights are asked for so far ahead: the processor does not by itself go on fast enough over rows
// as short as a layer's.
constexpr int64_t kAheadBytes = 8192;

// sums[r][o] = <row r of x, row o of w>. The order of a sum depends on `in` alone. kAsk: the weights
// that come later are asked for.
template <int R, int O, bool kAsk, class W>
void multiply_tile(const float* x, const W* w, int64_t in, float (&sums)[R][O]) {
  constexpr int64_t kLine = kLineBytes / int64_t(sizeof(W));
  vec<float> lanes[R][O] = {};
  const auto add = [&](int64_t i) {
    vec<float> weight[O];
    for (int o = 0; o < O; ++o) weight[o] = load_as_float(w + o * in + i);
    for (int r = 0; r < R; ++r) {
      const vec<float> values = load<float>(x + r * in + i);
      for (int o = 0; o < O; ++o) {
        lanes[r][o] = multiply_add<float>(values, weight[o], lanes[r][o]);
      }
    }
  };
  int64_t i = 0;
  for (; i + kLine <= in; i += kLine) {
    if constexpr (kAsk) {
      for (int o = 0; o < O; ++o) {
        __builtin_prefetch(w + o * in + i + kAheadBytes / int64_t(sizeof(W)));
      }
    }
#pragma GCC unroll 4
    for (int64_t j = 0; j < kLine; j += kLanes) add(i + j);
  }
  for (; i + kLanes <= in; i += kLanes) add(i);
  for (int r = 0; r < R; ++r) {
    for (int o = 0; o < O; ++o) {
      float sum = add_lanes<float>(lanes[r][o]);
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
    if (row == 0) {
      multiply_tile<R, O, true>(x, w + o * in, in, sums);
    } else {
      multiply_tile<R, O, false>(x + row * in, w + o * in, in, sums);
    }
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
      for (; o + 4 <= end; o += 4) tile<1, 4>(0, o);
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

#if defined(ELASTRON_AMX)

static_assert(kRowsAlike <= 16, "a tile has 16 columns");

// In tile registers: 16 outputs are a tile's rows, and the rows of x its columns, whose sums know
// nothing of each other.
void in_tiles(const Tensor& x, const Tensor& w, const Tensor& bias, Tensor& y) {
  const int64_t rows = x.size(0), in = x.size(1), out = w.size(0);
  const auto* from = x.data<bf16>();
  std::vector<bf16> pairs(size_t(in * 16));  // [in / 2][row][2]
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t i = 0; i < in; ++i) {
      pairs[size_t((i / 2 * 16 + r) * 2 + i % 2)] = from[r * in + i];
    }
  }
  const auto put_tile = [&](const float* sums, int64_t o) {
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t j = 0; j < 16; ++j) {
        const float add = bias.defined() ? float(bias.data<bf16>()[o + j]) : 0.0f;
        detail::put(y.data<bf16>()[r * out + o + j], sums[j * 16 + r] + add);
      }
    }
  };
  parallel_ranges(out / 16, 16 * rows * in, [&](int64_t begin, int64_t end) {
    const AmxTiles registers;
    alignas(64) float sums[16 * 16];
    for (int64_t o = begin; o < end; ++o) {
      const AmxOperands operands{
          w.data<bf16>() + o * 16 * in, in, pairs.data(), nullptr, 32, sums, 16};
      amx_block<1, 1, false>(operands, 0, 0, in);
      put_tile(sums, o * 16);
    }
  });
}

#endif

}  // namespace

void few_rows_forward(const Tensor& x, const WeightView& w, const Tensor& bias, Tensor& y) {
  const int64_t rows = x.size(0), in = x.size(1), out = w.values.size(0);
#if defined(ELASTRON_AMX)
  if (x.dtype() == DType::bf16 && w.values.dtype() == DType::bf16 && in % 32 == 0 &&
      out % 16 == 0 && has_amx()) {
    return in_tiles(x, w.values, bias, y);
  }
#endif
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
