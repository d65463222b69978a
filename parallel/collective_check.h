// Whether a group's collectives of a device's tensors give what the host works out: part of the
// start-up check (device.self_check).
#pragma once
#include <string>

#include "core/device.h"
#include "parallel/communicator.h"

namespace elastron::parallel {

// Collective over the group. Every operation in float32 and bfloat16, on sizes that the group does
// not divide; each rank knows what all ranks give, and works the result out in float64. -> "tensor
// axis: all_reduce in bfloat16: 11 in place of 12 (element 3)" or "... did not end in 30 s", after
// which the group's communicator is of no use; empty where all is right. Ranks may find different
// things.
std::string wrong_collective(Communicator& group, Device& device, double seconds);

}  // namespace elastron::parallel
