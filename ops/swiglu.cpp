#include "ops/swiglu.h"

#include "core/dispatch.h"
#include "ops/backend.h"
#include "ops/cpu/swiglu.h"
#include "ops/cuda/elementwise.h"

namespace elastron::ops {

Tensor swiglu_forward(const Tensor& gate, const Tensor& up) {
  check_same(gate, up, "swiglu");
  check_dense("swiglu", gate, up);
  Tensor h = Tensor::empty(gate.shape(), gate.dtype(), gate.device());
  with_float_dtype(gate.dtype(), [&]<class T>() {
    const T *g = gate.data<T>(), *u = up.data<T>();
    T* to = h.data<T>();
    run_on(
        gate.device(), [&] { cpu::swiglu_forward(g, u, to, h.numel()); },
        [&](auto stream) { cuda::swiglu_forward(g, u, to, h.numel(), stream); },
        [&] { return touches("swiglu", gate, up, h); });
  });
  return h;
}

SwigluGradient swiglu_backward(const Tensor& dh, const Tensor& gate, const Tensor& up,
                               bool in_place) {
  check_same(gate, up, "swiglu_backward");
  check_same(gate, dh, "swiglu_backward");
  check_dense("swiglu_backward", dh, gate, up);
  SwigluGradient d{gate, up};
  if (!in_place) {
    d.gate = Tensor::empty(gate.shape(), gate.dtype(), gate.device());
    d.up = Tensor::empty(gate.shape(), gate.dtype(), gate.device());
  }
  with_float_dtype(gate.dtype(), [&]<class T>() {
    const T *from = dh.data<T>(), *g = gate.data<T>(), *u = up.data<T>();
    T *dg = d.gate.data<T>(), *du = d.up.data<T>();
    const int64_t n = gate.numel();
    run_on(
        gate.device(), [&] { cpu::swiglu_backward(from, g, u, dg, du, n); },
        [&](auto stream) { cuda::swiglu_backward(from, g, u, dg, du, n, stream); },
        [&] { return touches("swiglu_backward", dh, gate, up, d.gate, d.up); });
  });
  return d;
}

}  // namespace elastron::ops
