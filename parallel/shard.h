// How a logical tensor is cut over the tensor-parallel group.
#pragma once
#include <string>

#include "core/parameter.h"

namespace elastron::parallel {

// Equal parts of dimension `dim`. Throws UsageError naming `name` and parallel.tensor when `extent`
// does not divide.
Partition even_partition(int dim, int64_t extent, int rank, int size, const std::string& name);

// Parts of ceil(extent / size): the last ones may be shorter, or empty. For the vocabulary.
Partition ceil_partition(int dim, int64_t extent, int rank, int size);

// The blocks of a shard of a weight, without values.
WeightScale scale_of_part(const WeightBlocks& blocks, const Partition& partition);

// A backbone parameter with an uninitialised shard, kept as `storage` says; when trainable also with
// a master (the value itself where that is in master precision) and a zero gradient. One that trains
// has no scales.
Parameter make_sharded_weight(const std::string& name, const Shape& logical_shape,
                              const Partition& partition, const WeightStorage& storage,
                              bool trainable, Device& device);

}  // namespace elastron::parallel
