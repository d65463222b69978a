// Chooses what carries the collectives of the device's tensors.
#pragma once
#include <memory>
#include <string>

#include "core/device.h"
#include "parallel/collective_backend.h"
#include "parallel/world.h"
#include "train/config.h"

namespace elastron::launch {

struct ChosenCollectives {
  std::unique_ptr<parallel::CollectiveBackend> backend;  // null: MPI, through host memory
  std::string why_not_nccl;  // for `auto` on several ranks with GPUs: one line; empty otherwise
};

// Collective over the world. auto: NCCL where it loads and no two ranks share a GPU; MPI where all
// ranks share one. Throws UsageError where that cannot be: for `nccl`, and for `auto` on several
// GPUs. World and device must outlive the back end.
ChosenCollectives choose_collectives(train::CommunicatorChoice choice, parallel::World& world,
                                     Device& device);

}  // namespace elastron::launch
