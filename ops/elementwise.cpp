#include "ops/elementwise.h"

#include <vector>

#include "core/dispatch.h"
#include "ops/backend.h"
#include "ops/cpu/elementwise.h"
#include "ops/cuda/elementwise.h"
#include "ops/cuda/reductions.h"

namespace elastron::ops {

namespace {

void add_to(const Tensor& a, const Tensor& b, Tensor& sum) {
  with_float_dtype(a.dtype(), [&]<class T>() {
    const T *x = a.data<T>(), *y = b.data<T>();
    T* z = sum.data<T>();
    run_on(
        a.device(), [&] { cpu::add(x, y, z, a.numel()); },
        [&](auto stream) { cuda::add(x, y, z, a.numel(), stream); },
        [&] { return touches("add", a, b, sum); });
  });
}

}  // namespace

Tensor add(const Tensor& a, const Tensor& b) {
  check_same(a, b, "add");
  check_dense("add", a, b);
  Tensor sum = Tensor::empty(a.shape(), a.dtype(), a.device());
  add_to(a, b, sum);
  return sum;
}

void add_into(Tensor& a, const Tensor& b) {
  check_same(a, b, "add_into");
  check_dense("add_into", a, b);
  add_to(a, b, a);
}

void scale_into(Tensor& a, double factor) {
  check_dense("scale_into", a);
  with_float_dtype(a.dtype(), [&]<class T>() {
    T* x = a.data<T>();
    run_on(
        a.device(), [&] { cpu::scale_into(x, factor, a.numel()); },
        [&](auto stream) { cuda::scale_into(x, factor, a.numel(), stream); },
        [&] { return touches("scale", a, a); });
  });
}

void clamp_into(Tensor& a, double low, double high) {
  check_dense("clamp_into", a);
  with_float_dtype(a.dtype(), [&]<class T>() {
    T* x = a.data<T>();
    run_on(
        a.device(), [&] { cpu::clamp_into(x, low, high, a.numel()); },
        [&](auto stream) { cuda::clamp_into(x, low, high, a.numel(), stream); },
        [&] { return touches("clamp", a, a); });
  });
}

Tensor cast(const Tensor& x, DType dtype) {
  Tensor y = Tensor::empty(x.shape(), dtype, x.device());
  cast_into(x, y);
  return y;
}

void cast_into(const Tensor& x, Tensor& y) {
  check_shape(y, x.shape(), "cast");
  check_dense("cast", x, y);
  with_float_dtype(x.dtype(), [&]<class From>() {
    with_float_dtype(y.dtype(), [&]<class To>() {
      const From* from = x.data<From>();
      To* to = y.data<To>();
      run_on(
          x.device(), [&] { cpu::cast(from, to, x.numel()); },
          [&](auto stream) { cuda::cast(from, to, x.numel(), stream); },
          [&] { return touches("cast", x, y); });
    });
  });
}

void sum_parts(const Tensor& parts, Tensor& sum) {
  check_dense("sum_parts", parts, sum);
  ELASTRON_CHECK(parts.rank() == 2 && sum.rank() == 1 && parts.size(1) == sum.numel() &&
                     parts.dtype() == sum.dtype(),
                 "sum_parts takes [n, m] and [m] of one dtype");
  with_float_dtype(parts.dtype(), [&]<class T>() {
    const T* from = parts.data<T>();
    T* to = sum.data<T>();
    run_on(
        parts.device(), [&] { cpu::sum_parts(from, to, parts.size(0), sum.numel()); },
        [&](auto stream) { cuda::sum_parts(from, to, parts.size(0), sum.numel(), stream); },
        [&] { return touches("sum_parts", parts, sum); });
  });
}

Tensor silu_forward(const Tensor& x) {
  check_dense("silu", x);
  Tensor y = Tensor::empty(x.shape(), x.dtype(), x.device());
  with_float_dtype(x.dtype(), [&]<class T>() {
    const T* from = x.data<T>();
    T* to = y.data<T>();
    run_on(
        x.device(), [&] { cpu::silu_forward(from, to, x.numel()); },
        [&](auto stream) { cuda::silu_forward(from, to, x.numel(), stream); },
        [&] { return touches("silu", x, y); });
  });
  return y;
}

Tensor silu_backward(const Tensor& dy, const Tensor& x) {
  check_same(dy, x, "silu_backward");
  check_dense("silu_backward", dy, x);
  Tensor dx = Tensor::empty(x.shape(), x.dtype(), x.device());
  with_float_dtype(x.dtype(), [&]<class T>() {
    const T *d = dy.data<T>(), *from = x.data<T>();
    T* to = dx.data<T>();
    run_on(
        x.device(), [&] { cpu::silu_backward(d, from, to, x.numel()); },
        [&](auto stream) { cuda::silu_backward(d, from, to, x.numel(), stream); },
        [&] { return touches("silu_backward", dy, x, dx); });
  });
  return dx;
}

double sum_of_squares(std::span<const Tensor> tensors) {
  double sum = 0;
  if (tensors.empty()) return sum;
  const Tensor& first = tensors.front();
  Device& device = first.device();
  std::vector<cuda::SquaresPart> parts;
  int64_t blocks = 0;
  double bytes = 0;
  for (const Tensor& x : tensors) {
    check_dense("sum_of_squares", first, x);
    ELASTRON_CHECK(x.dtype() == first.dtype(), "sum_of_squares: tensors of several dtypes");
    if (x.numel() == 0) continue;
    parts.push_back({x.raw(), x.numel(), blocks});
    blocks += cuda::squares_blocks(x.numel());
    bytes += double(x.bytes());
  }
  if (parts.empty()) return sum;
  const auto scratch_numbers = [&] {
    return Tensor::empty({1 + int64_t(parts.size()) + blocks}, DType::f64, device);
  };
  with_float_dtype(first.dtype(), [&]<class T>() {
    run_on(
        device,
        [&] {
          for (const auto& part : parts) {
            sum += cpu::sum_of_squares(static_cast<const T*>(part.x), part.count);
          }
        },
        [&](auto stream) {
          const Tensor there = on_device(std::span<const cuda::SquaresPart>(parts), device);
          const Tensor scratch = scratch_numbers();
          double* numbers = scratch.data<double>();
          cuda::sum_of_squares<T>(static_cast<const cuda::SquaresPart*>(there.raw()),
                                  int64_t(parts.size()), blocks, numbers + 1, numbers, stream);
          device.copy_to_host(&sum, numbers, sizeof sum);
        },
        [&](MetaDevice& meta) {
          meta.record(
              {.name = "sum_of_squares", .bytes = bytes, .launches = cuda::kSquaresLaunches});
          if (meta.behaves_as() != DeviceKind::cuda) return;
          on_device(std::span<const cuda::SquaresPart>(parts), meta);
          const Tensor scratch = scratch_numbers();
          meta.copy_to_host(&sum, scratch.raw(), sizeof sum);
        });
  });
  return sum;
}

double sum_of_squares(const Tensor& x) { return sum_of_squares(std::span(&x, 1)); }

Tensor sum(const Tensor& x) {
  check_dense("sum", x);
  ELASTRON_CHECK(x.rank() == 1 && x.dtype() == DType::f64, "sum takes [n] float64");
  Tensor total = Tensor::empty({1}, DType::f64, x.device());
  const double* from = x.data<double>();
  double* to = total.data<double>();
  run_on(
      x.device(),
      [&] {
        *to = 0;
        for (int64_t i = 0; i < x.numel(); ++i) *to += from[i];
      },
      [&](auto stream) { cuda::sum(from, x.numel(), to, stream); },
      [&] { return touches("sum", x, total); });
  return total;
}

bool all_finite(const Tensor& x) {
  check_dense("all_finite", x);
  int32_t finite = 1;
  if (x.numel() == 0) return true;
  with_float_dtype(x.dtype(), [&]<class T>() {
    const T* from = x.data<T>();
    run_on(
        x.device(), [&] { finite = cpu::all_finite(from, x.numel()) ? 1 : 0; },
        [&](auto stream) {
          const Tensor flag = Tensor::empty({1}, DType::i32, x.device());
          cuda::all_finite(from, x.numel(), flag.data<int32_t>(), stream);
          x.device().copy_to_host(&finite, flag.raw(), sizeof finite);
        },
        [&](MetaDevice& meta) {
          meta.record({.name = "all_finite", .bytes = double(x.bytes()), .launches = 2});
          if (meta.behaves_as() != DeviceKind::cuda) return;
          const Tensor flag = Tensor::empty({1}, DType::i32, meta);
          int32_t nothing = 0;
          meta.copy_to_host(&nothing, flag.raw(), sizeof nothing);
        });
  });
  return finite != 0;
}

}  // namespace elastron::ops
