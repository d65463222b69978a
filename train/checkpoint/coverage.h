// A check that shards tile a logical tensor.
#pragma once
#include <span>
#include <string>

#include "core/parameter.h"

namespace elastron::train {

// Empty when the partitions, one per rank of the tensor group, hold every element of `logical`
// exactly once (or all of them hold all of it); otherwise what is wrong. Pure.
std::string tiling_fault(const Shape& logical, std::span<const Partition> partitions);

}  // namespace elastron::train
