// The device that a rank computes on.
#pragma once
#include <memory>
#include <string>

#include "core/device.h"
#include "train/config.h"

namespace elastron::launch {

struct ChosenDevice {
  std::unique_ptr<Device> device;
  std::string why_not_gpu;  // for `auto` on the CPU: one line; empty otherwise
};

// auto: a GPU where this process sees one and the build has the back end. Ranks of one machine take
// its GPUs in turns, so that several may share one. Throws UsageError for `cuda` without one.
ChosenDevice choose_device(train::DeviceChoice choice, int node_rank);

// Bytes that the device could still give each of the ranks of this machine that share it; 0: not
// known. `node_size` ranks are on this machine.
int64_t memory_per_rank(const Device& device, int node_size);

}  // namespace elastron::launch
