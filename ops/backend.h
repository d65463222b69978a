// Where an op runs: one place that knows which back ends this build has.
#pragma once
#include <span>

#include "core/tensor.h"
#include "ops/check.h"
#if ELASTRON_WITH_CUDA
#include "core/cuda/device.h"
#endif

namespace elastron::ops {

// cpu() or cuda(stream), by the device. `cuda` is a generic lambda, which a build without CUDA does
// not compile:
//   run_on(x.device(), [&] { cpu::f(...); }, [&](auto stream) { cuda::f(..., stream); });
template <class Cpu, class Cuda>
void run_on(const Device& device, Cpu&& cpu, [[maybe_unused]] Cuda&& cuda) {
#if ELASTRON_WITH_CUDA
  if (device.kind() == DeviceKind::cuda) {
    cuda(elastron::cuda::stream_of(device));
    return;
  }
#endif
  ELASTRON_CHECK(device.kind() == DeviceKind::cpu, "this build has no back end for the device");
  cpu();
}

// A small host array where a kernel can read it; the tensor owns it.
template <class T>
Tensor on_device(std::span<const T> values, Device& device) {
  Tensor t = Tensor::empty({int64_t(values.size_bytes())}, DType::u8, device);
  if (!values.empty()) device.copy_from_host(t.raw(), values.data(), values.size_bytes());
  return t;
}

}  // namespace elastron::ops
