// Checksums of a checkpoint, in /integrity/xxh3_128: a line "checksum path" for each dataset
// (core/file/checksum.h: over blocks of rows of the unsharded tensor) and one for the attributes.
// A second checksum, an attribute, guards the list itself.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "core/file/checksum.h"
#include "core/file/hdf5.h"
#include "train/checkpoint/header.h"

namespace elastron::train {

using Checksums = std::map<std::string, std::string>;  // by dataset

// Whether the stored block is, byte for byte, the tensor.
bool same_as_memory(const Hdf5File& file, const Hdf5Dataset& dataset, const Tensor& local,
                    const std::vector<int64_t>& offset, const OnSlice& on_slice = {});

// The blocks of all datasets, in order, are shared out evenly. -> the digests of rank `rank` of
// `of`.
std::string own_digests(const Hdf5File& file, const std::vector<Hdf5Dataset>& datasets, int rank,
                        int of, const OnSlice& on_slice = {});
// `parts`: own_digests of every rank, in rank order.
Checksums combine_digests(const std::vector<Hdf5Dataset>& datasets,
                          const std::vector<std::string>& parts);

// Writes texts, attributes and /integrity, and marks the file complete. `tensors`: their checksums.
void seal(Hdf5File& file, const CheckpointHeader& header, Checksums tensors);

// Throws CheckpointError unless the file is marked complete and list and attributes are the ones
// that were sealed. -> the list.
Checksums sealed_checksums(const Hdf5File& file);
// All datasets but the list itself. Throws CheckpointError unless they are exactly the sealed ones.
std::vector<Hdf5Dataset> sealed_datasets(const Hdf5File& file, const Checksums& sealed);
// Throws CheckpointError naming the first dataset whose checksum is not the sealed one.
void compare_checksums(const Hdf5File& file, const Checksums& sealed, const Checksums& found);

}  // namespace elastron::train
