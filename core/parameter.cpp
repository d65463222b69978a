#include "core/parameter.h"

namespace elastron {

Shape local_shape(const Shape& logical, const Partition& partition) {
  Shape shape = logical;
  if (!partition.replicated()) {
    ELASTRON_CHECK(partition.offset + partition.size <= logical[partition.dim],
                   "partition reaches beyond " + logical.str());
    shape.set(partition.dim, partition.size);
  }
  return shape;
}

Shape local_shape(const Parameter& p) { return local_shape(p.logical_shape, p.partition); }

size_t stored_bytes(const Parameter& p) {
  return p.value.bytes() + (p.scale.defined() ? p.scale.values.bytes() : 0);
}

}  // namespace elastron
