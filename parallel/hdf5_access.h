// Lets the ranks of a communicator write one HDF5 file together.
#pragma once
#include <span>
#include <string>

#include "core/file/hdf5.h"
#include "parallel/communicator.h"

namespace elastron::parallel {

// Collective. Makes a file with these datasets (rank 0) and opens it on every rank, each of which
// may then write its own parts of them. Throws AgreedFailure.
Hdf5File create_together(const std::string& path, std::span<const Hdf5Dataset> datasets,
                         Communicator& group);
// Collective. Everything is written out after it. Throws AgreedFailure.
void close_together(Hdf5File& file, Communicator& group);

}  // namespace elastron::parallel
