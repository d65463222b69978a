#include "parallel/shard.h"

#include <fmt/format.h>

#include <algorithm>

namespace elastron::parallel {

Partition even_partition(int dim, int64_t extent, int rank, int size, const std::string& name) {
  if (extent % size != 0) {
    throw UsageError(
        fmt::format("dimension {} of {}, {}, cannot be divided over parallel.tensor={} "
                    "ranks",
                    dim, name, extent, size),
        "parallel.tensor", fmt::format("choose a divisor of {}", extent));
  }
  const int64_t part = extent / size;
  return {.dim = dim, .offset = rank * part, .size = part};
}

Partition ceil_partition(int dim, int64_t extent, int rank, int size) {
  const int64_t part = (extent + size - 1) / size;
  const int64_t begin = std::min(rank * part, extent);
  return {.dim = dim, .offset = begin, .size = std::min(begin + part, extent) - begin};
}

WeightScale scale_of_part(const WeightBlocks& blocks, const Partition& partition) {
  return {.values = {},
          .out_block = blocks.out,
          .in_block = blocks.in,
          .out_offset = partition.dim == 0 ? partition.offset % blocks.out : 0,
          .in_offset = partition.dim == 1 ? partition.offset % blocks.in : 0};
}

Parameter make_sharded_weight(const std::string& name, const Shape& logical_shape,
                              const Partition& partition, const WeightStorage& storage,
                              bool trainable, Device& device) {
  const DType dtype = storage.dtype;
  ELASTRON_CHECK(!trainable || !storage.blocks, name + " trains and is quantised");
  Parameter p;
  p.name = name;
  p.logical_shape = logical_shape;
  p.partition = partition;
  p.trainable = trainable;
  const Shape shape = local_shape(p);
  p.value = Tensor::empty(shape, dtype, device);
  if (storage.blocks) {
    p.scale = scale_of_part(*storage.blocks, partition);
    p.scale.values = Tensor::empty(p.scale.shape_for(shape[0], shape[1]), DType::f32, device);
  }
  if (trainable) {
    const DType master = accumulator_dtype(dtype);
    p.master = master == dtype ? p.value : Tensor::empty(shape, master, device);
    p.grad = Tensor::zeros(shape, master, device);
  }
  return p;
}

}  // namespace elastron::parallel
