// Stands in for cuBLASLt: plain loops, so that what is above the products runs without a GPU.
#include "ops/cuda/matmul.h"

#include <vector>

#include "core/cuda/device.h"
#include "core/dispatch.h"
#include "tests/support/cuda_emulator/memory.h"

namespace elastron::ops::cuda {

namespace {

// c [m, n] = (accumulate ? c : 0) + bias + sum over i of a(row, i) b(i, column)
template <class C, class A, class B>
void product(int64_t m, int64_t n, int64_t inner, bool accumulate, C* c, const A& a, const B& b) {
  using S = accumulator_t<C>;
  for (int64_t r = 0; r < m; ++r) {
    for (int64_t k = 0; k < n; ++k) {
      S sum = 0;
      for (int64_t i = 0; i < inner; ++i) sum += S(a(r, i)) * S(b(i, k));
      c[r * n + k] = C(accumulate ? S(c[r * n + k]) + sum : sum);
    }
  }
}

// A call of the library on the device's stream, with the workspace it would take: work(a, b, bias,
// c) of what these tensors see, which a graph does again without keeping them alive.
void library_call(const Tensor& a, const Tensor& b, const Tensor& bias, Tensor& c, auto work) {
  ++emulator::calls().launches;
  const Tensor workspace = Tensor::empty({kMatmulWorkspace}, DType::u8, c.device());
  const auto view = [](const Tensor& t) {
    return t.defined() ? Tensor::borrow(t.raw(), t.shape(), t.dtype(), t.device()) : t;
  };
  std::vector<emulator::Bytes> touched{
      {a.raw(), a.bytes()}, {b.raw(), b.bytes()}, {c.raw(), c.bytes(), true}};
  if (bias.defined()) touched.push_back({bias.raw(), bias.bytes()});
  emulator::issue(
      elastron::cuda::stream_of(c.device()), "a product", std::move(touched),
      [work, a = view(a), b = view(b), bias = view(bias), c = view(c)] { work(a, b, bias, c); });
}

}  // namespace

void matmul_forward(const Tensor& x, const Tensor& w, const Tensor& bias, Tensor& y) {
  library_call(x, w, bias, y,
               [](const Tensor& x, const Tensor& w, const Tensor& bias, const Tensor& y) {
                 with_float_dtype(x.dtype(), [&]<class T>() {
                   using S = accumulator_t<T>;
                   const T *px = x.data<T>(), *pw = w.data<T>();
                   T* py = y.data<T>();
                   const int64_t in = w.size(1), out = w.size(0);
                   for (int64_t r = 0; r < x.size(0); ++r) {
                     for (int64_t o = 0; o < out; ++o) {
                       S sum = 0;
                       for (int64_t i = 0; i < in; ++i)
                         sum += S(px[r * in + i]) * S(pw[o * in + i]);
                       if (bias.defined()) sum += S(bias.data<T>()[o]);
                       py[r * out + o] = T(sum);
                     }
                   }
                 });
               });
}

void matmul_dgrad(const Tensor& dy, const Tensor& w, bool accumulate, Tensor& dx) {
  library_call(dy, w, {}, dx,
               [accumulate](const Tensor& dy, const Tensor& w, const Tensor&, const Tensor& dx) {
                 with_float_dtype(dy.dtype(), [&]<class T>() {
                   const T *d = dy.data<T>(), *pw = w.data<T>();
                   const int64_t in = w.size(1), out = w.size(0);
                   product(
                       dy.size(0), in, out, accumulate, dx.data<T>(),
                       [&](int64_t r, int64_t o) { return d[r * out + o]; },
                       [&](int64_t o, int64_t i) { return pw[o * in + i]; });
                 });
               });
}

void matmul_wgrad(const Tensor& dy, const Tensor& x, Tensor& dw) {
  library_call(dy, x, {}, dw,
               [](const Tensor& dy, const Tensor& x, const Tensor&, const Tensor& dw) {
                 with_float_dtype(x.dtype(), [&]<class T>() {
                   const T *d = dy.data<T>(), *px = x.data<T>();
                   const int64_t in = dw.size(1), out = dw.size(0);
                   product(
                       out, in, x.size(0), true, dw.data<accumulator_t<T>>(),
                       [&](int64_t o, int64_t t) { return d[t * out + o]; },
                       [&](int64_t t, int64_t i) { return px[t * in + i]; });
                 });
               });
}

}  // namespace elastron::ops::cuda
