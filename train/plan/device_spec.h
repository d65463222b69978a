// Rates of a device and of the links between devices: configs/devices/*.yaml. All fields of a file
// must be there.
#pragma once
#include <string>
#include <string_view>

#include "core/config/load.h"
#include "core/device.h"
#include "core/dtype.h"

namespace elastron::train {

struct DeviceMemory {
  double bytes = 0;      // of a device
  double bandwidth = 0;  // bytes per second
  double usable = 0;     // share that a rank may fill
};

// Operations per second by the data sheet, and the shares of them that are reached.
struct DeviceCompute {
  double bfloat16 = 0, float32 = 0;
  double linear_share = 0;
  double attention_forward_share = 0, attention_backward_share = 0;
  double bandwidth_share = 0;  // of memory.bandwidth, by norms, products by element, optimiser
  double launch_seconds = 0;   // from one small operation to the next
};

// One direction, per device.
struct DeviceLink {
  double bandwidth = 0;  // bytes per second that collectives reach
  double latency = 0;    // seconds
};

struct DeviceSpec {
  std::string name;
  DeviceKind kind = DeviceKind::cuda;
  double per_node = 0;  // devices of a machine
  DeviceMemory memory;
  DeviceCompute compute;
  DeviceLink node, network;  // inside a machine, between machines

  double flops(DType dtype) const {
    return dtype == DType::bf16 ? compute.bfloat16 : compute.float32;
  }
};

// `device` is a file, or a name: `folder`/<name>.yaml. Throws UsageError: an unknown name, with the
// nearest one that exists; what is wrong in the file, with key and line; a field that is missing.
DeviceSpec load_device_spec(const std::string& device, const std::string& folder);

}  // namespace elastron::train

namespace elastron::config {

template <>
struct EnumNames<DeviceKind> {
  static constexpr NameOf<DeviceKind> names[] = {{DeviceKind::cuda, "cuda"},
                                                 {DeviceKind::cpu, "cpu"}};
};

// Its keys stand in device_spec.cpp.
extern template Table table_of(train::DeviceSpec&);

}  // namespace elastron::config
