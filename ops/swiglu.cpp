#include "ops/swiglu.h"

#include "core/dispatch.h"
#include "ops/check.h"
#include "ops/cpu/swiglu.h"

namespace elastron::ops {

Tensor swiglu_forward(const Tensor& gate, const Tensor& up) {
  check_same(gate, up, "swiglu");
  check_contiguous(gate, "swiglu");
  check_contiguous(up, "swiglu");
  check_cpu(gate, "swiglu");
  Tensor h = Tensor::empty(gate.shape(), gate.dtype(), gate.device());
  with_float_dtype(gate.dtype(), [&]<class T>() {
    cpu::swiglu_forward(gate.data<T>(), up.data<T>(), h.data<T>(), h.numel());
  });
  return h;
}

SwigluGradient swiglu_backward(const Tensor& dh, const Tensor& gate, const Tensor& up,
                               bool in_place) {
  check_same(gate, up, "swiglu_backward");
  check_same(gate, dh, "swiglu_backward");
  check_contiguous(gate, "swiglu_backward");
  check_contiguous(up, "swiglu_backward");
  check_contiguous(dh, "swiglu_backward");
  check_cpu(gate, "swiglu_backward");
  SwigluGradient d{gate, up};
  if (!in_place) {
    d.gate = Tensor::empty(gate.shape(), gate.dtype(), gate.device());
    d.up = Tensor::empty(gate.shape(), gate.dtype(), gate.device());
  }
  with_float_dtype(gate.dtype(), [&]<class T>() {
    cpu::swiglu_backward(dh.data<T>(), gate.data<T>(), up.data<T>(), d.gate.data<T>(),
                         d.up.data<T>(), gate.numel());
  });
  return d;
}

}  // namespace elastron::ops
