// A parameter is a shard of a logical (unsharded) tensor. The list of parameters is the single
// truth for the optimiser, the checkpoint, and import/export. Plain data: it knows no communicator.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "core/weight_scale.h"

namespace elastron {

// Which part of the logical tensor this rank holds. dim < 0: all of it (replicated over the
// tensor-parallel group). Otherwise [offset, offset + size) of logical dimension `dim`.
struct Partition {
  int dim = -1;
  int64_t offset = 0;
  int64_t size = 0;
  bool replicated() const { return dim < 0; }
};

// Which optimiser group a parameter belongs to; learning rates are per group.
enum class ParameterGroup : uint8_t { backbone, router, lambda, head, lora };

struct Parameter {
  std::string name;     // logical name, e.g. "model.layers.0.self_attn.q_proj.weight"
  Shape logical_shape;  // of the unsharded tensor
  Partition partition;
  ParameterGroup group = ParameterGroup::backbone;
  bool trainable = false;
  bool maximize = false;  // gradient ascent (the lambdas)
  // A replicated parameter whose gradient on each tensor-parallel rank is only that rank's part of
  // the sum (the router: it is applied to the rank's own kv heads). The gradient reducer sums it.
  bool gradient_partial_over_tensor = false;

  Tensor value;  // the local shard in the dtype the model computes with; frozen: as it is stored
  // Of a frozen one that is quantised: the blocks that the shard has a part of. The weight is value
  // times scale.
  WeightScale scale;
  // float32 (or float64) copy that the optimiser updates; the same tensor as `value` when that is
  // already in master precision; undefined when frozen.
  Tensor master;
  Tensor grad;  // master dtype, local shard's shape; undefined when frozen
};

// Shape of the local shard.
Shape local_shape(const Parameter& p);
Shape local_shape(const Shape& logical, const Partition& partition);
// Bytes of the local shard, with its scales.
size_t stored_bytes(const Parameter& p);

using ParameterList = std::vector<Parameter*>;

}  // namespace elastron
