// The device that a rank computes on.
#pragma once
#include <memory>
#include <string>

#include "core/device.h"
#include "parallel/communicator.h"
#include "train/config.h"

namespace elastron::launch {

struct ChosenDevice {
  std::unique_ptr<Device> device;
  std::string why_not_gpu;  // for `auto` on the CPU: one line; empty otherwise
  int sharers = 1;          // ranks that have the same GPU, this one among them
};

// Collective over `everyone`. auto: a GPU where the ranks see some and the build has the back end.
// Ranks take the GPUs that they see in turns (launch/gpu_sharing.h), so that several may share one.
// Throws UsageError for `cuda` without one, and where some ranks see a GPU and others none; with
// several ranks, as parallel::AgreedFailure.
ChosenDevice choose_device(train::DeviceChoice choice, parallel::Communicator& everyone);
// For one process alone.
ChosenDevice choose_device(train::DeviceChoice choice);

// Bytes of the machine's memory that its `node_size` ranks could have each; 0: not known.
int64_t available_host_memory(int node_size);

}  // namespace elastron::launch
