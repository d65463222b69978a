// Lets the ranks of a communicator open one HDF5 file together.
#pragma once
#include <optional>

#include "core/file/hdf5.h"
#include "parallel/communicator.h"

namespace elastron::parallel {

// Nothing for a group of one, which opens files alone.
std::optional<Hdf5Group> hdf5_group(const Communicator& group);

}  // namespace elastron::parallel
