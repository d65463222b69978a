// Checksums of a checkpoint: XXH3-128 of each dataset's dtype, shape and bytes, in /integrity.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "core/file/hdf5.h"
#include "parallel/communicator.h"

namespace elastron::train {

// Throws CheckpointError when the stored block differs from the tensor.
void compare_with_memory(const Hdf5File& file, const std::string& where,
                         const Hdf5Dataset& dataset, const Tensor& local,
                         const std::vector<int64_t>& offset);

// Checksums of every `of`-th path from `rank` on, read from the file.
std::map<std::string, std::string> own_checksums(const Hdf5File& file,
                                                 const std::vector<std::string>& paths, int rank,
                                                 int of);
// Collective: all ranks' checksums on every rank.
std::map<std::string, std::string> gather_checksums(const std::map<std::string, std::string>& own,
                                                    parallel::Communicator& group);

// Adds the checksums of the texts, writes /integrity, and marks the file complete.
void seal(Hdf5File& file, std::map<std::string, std::string> sums);

// The checksums in the file, by dataset. Throws when they are not the ones that were sealed.
std::map<std::string, std::string> stored_checksums(const Hdf5File& file,
                                                    const std::string& where);

// Checks that the file holds exactly the datasets of /integrity, and this rank's share of their
// checksums. Throws CheckpointError naming the dataset.
void verify_checksums(const Hdf5File& file, const std::string& where, int rank, int of);

}  // namespace elastron::train
