// How much of a device a plan may fill. A plan counts tensors; a process holds more: the driver's
// context, the code of kernels and libraries, NCCL's buffers, products that are tried out. `plan`
// and the check at a run's start ask here.
#pragma once
#include <cstdint>

#include "core/device.h"
#include "parallel/mesh_layout.h"

namespace elastron::train {

// The share of a device that tensors may fill: the rest is for fragments, and for what is counted
// below. The files of configs/devices say the same (memory.usable), and may say less.
double usable_share(DeviceKind kind);

// Bytes that a rank takes outside its plan. Estimates: none was measured on a GPU.
struct OutsidePlan {
  int64_t context = 0;      // the driver's, before anything is loaded
  int64_t modules = 0;      // code of our kernels, cuBLASLt's and cuDNN's, loaded at first use
  int64_t collectives = 0;  // NCCL's buffers: one set for each group of several ranks
  int64_t tuning = 0;       // what the first product of a shape may take to be timed

  int64_t total() const { return context + modules + collectives + tuning; }
};
OutsidePlan outside_plan(const parallel::MeshLayout& layout, DeviceKind kind);

// Of a device of `total` bytes that the rank has for itself; 0 only where `total` is (not known).
int64_t usable_memory(double total, double share, const OutsidePlan& outside);

// The same at a run's start, of a device that `sharers` ranks share and that has `free` bytes left:
// what others took is not there. A context of each rank is part of what was taken, and of the
// share that a plan leaves, so that an idle device gives what usable_memory() says.
int64_t usable_memory_now(int64_t total, int64_t free, int sharers, double share,
                          const OutsidePlan& outside);

}  // namespace elastron::train
