#include "parallel/communicator.h"

namespace elastron::parallel {

namespace {

void copy(const Tensor& in, Tensor& out) {
  ELASTRON_CHECK(in.numel() == out.numel() && in.dtype() == out.dtype(),
                 "a group of one gives back what it gets");
  if (in.raw() != out.raw()) out.view(in.shape()).copy_from(in);
}

}  // namespace

Pending SelfCommunicator::all_reduce(Tensor&, ReduceOp) { return {}; }

Pending SelfCommunicator::all_gather(const Tensor& in, Tensor& out) {
  copy(in, out);
  return {};
}

Pending SelfCommunicator::reduce_scatter(const Tensor& in, Tensor& out) {
  copy(in, out);
  return {};
}

Pending SelfCommunicator::all_to_all(const Tensor& in, Tensor& out) {
  copy(in, out);
  return {};
}

Pending SelfCommunicator::broadcast(Tensor&, int root) {
  ELASTRON_CHECK(root == 0, "a group of one has only rank 0");
  return {};
}

}  // namespace elastron::parallel
