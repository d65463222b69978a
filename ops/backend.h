// Where an op runs: one place that knows which back ends this build has.
#pragma once
#include <concepts>
#include <span>

#include "core/meta_device.h"
#include "core/tensor.h"
#include "ops/check.h"
#if ELASTRON_WITH_CUDA
#include "core/cuda/device.h"
#endif

namespace elastron::ops {

// cpu(), cuda(stream) or, on a meta device, `cost`, by the device. `cuda` is a generic lambda,
// which a build without CUDA does not compile:
//   run_on(x.device(), [&] { cpu::f(...); }, [&](auto stream) { cuda::f(..., stream); },
//          [&] { return touches("f", x, y); });
// `cost` gives the OpCost of the call; or, where the back ends allocate scratch memory or copy, it
// takes the MetaDevice& and does the same there.
template <class Cpu, class Cuda, class Cost>
void run_on(Device& device, Cpu&& cpu, [[maybe_unused]] Cuda&& cuda, Cost&& cost) {
  if (device.kind() == DeviceKind::meta) {
    auto& meta = static_cast<MetaDevice&>(device);
    if constexpr (std::invocable<Cost, MetaDevice&>) {
      cost(meta);
    } else {
      meta.record(cost());
    }
    return;
  }
#if ELASTRON_WITH_CUDA
  if (device.kind() == DeviceKind::cuda) {
    cuda(elastron::cuda::stream_of(device));
    return;
  }
#endif
  ELASTRON_CHECK(device.kind() == DeviceKind::cpu, "this build has no back end for the device");
  cpu();
}

// The cost of an op in one kernel that reads or writes each of the tensors once.
template <class... Tensors>
OpCost touches(const char* op, const Tensors&... tensors) {
  return {.name = op, .bytes = (double(tensors.bytes()) + ...)};
}

// A small host array where a kernel can read it; the tensor owns it.
template <class T>
Tensor on_device(std::span<const T> values, Device& device) {
  Tensor t = Tensor::empty({int64_t(values.size_bytes())}, DType::u8, device);
  if (!values.empty()) device.copy_from_host(t.raw(), values.data(), values.size_bytes());
  return t;
}

}  // namespace elastron::ops
