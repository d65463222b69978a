// Lets the ranks of a communicator write one HDF5 file together.
#pragma once
#include <span>
#include <string>

#include "core/file/dataset_parts.h"
#include "parallel/communicator.h"

namespace elastron::parallel {

// Collective. Makes a file with these datasets (rank 0) and opens it on every rank, each of which
// may then write its own parts of them. Throws AgreedFailure.
DatasetParts create_together(const std::string& path, std::span<const Hdf5Dataset> datasets,
                             Communicator& group);
// Collective. All parts are on the disk after it. Throws AgreedFailure.
void close_together(DatasetParts& file, Communicator& group);

}  // namespace elastron::parallel
