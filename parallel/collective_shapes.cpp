#include "parallel/collective_shapes.h"

namespace elastron::parallel {

namespace {

void check_movable(const Tensor& t) {
  ELASTRON_CHECK(t.defined() && t.contiguous(), "collectives take contiguous tensors");
}

void check_reducible(const Tensor& t) {
  check_movable(t);
  ELASTRON_CHECK(t.dtype() != DType::u8, "uint8 cannot be reduced");
}

// `whole` is `size` times `part` along dimension 0.
void check_parts(const Tensor& part, const Tensor& whole, int size) {
  check_movable(part);
  check_movable(whole);
  ELASTRON_CHECK(part.dtype() == whole.dtype(), "one dtype per collective");
  ELASTRON_CHECK(part.rank() >= 1 && part.numel() * size == whole.numel(),
                 "shapes " + part.shape().str() + " and " + whole.shape().str() +
                     " do not fit a group of " + std::to_string(size));
}

}  // namespace

void check_all_reduce(const Tensor& t) { check_reducible(t); }

void check_all_gather(const Tensor& in, const Tensor& out, int size) { check_parts(in, out, size); }

void check_reduce_scatter(const Tensor& in, const Tensor& out, int size) {
  check_reducible(in);
  check_parts(out, in, size);
}

void check_all_to_all(const Tensor& in, const Tensor& out, int size) {
  check_parts(in, out, 1);
  ELASTRON_CHECK(in.size(0) % size == 0, "dimension 0 of " + in.shape().str() +
                                             " does not divide into " + std::to_string(size) +
                                             " parts");
}

void check_broadcast(const Tensor& t, int root, int size) {
  check_movable(t);
  ELASTRON_CHECK(root >= 0 && root < size, "root outside the group");
}

}  // namespace elastron::parallel
