// Checks in one place, for every kind of communicator, what a collective asks of its tensors.
#pragma once
#include "core/tensor.h"

namespace elastron::parallel {

void check_all_reduce(const Tensor& t);
void check_all_gather(const Tensor& in, const Tensor& out, int size);
void check_reduce_scatter(const Tensor& in, const Tensor& out, int size);
void check_all_to_all(const Tensor& in, const Tensor& out, int size);
void check_broadcast(const Tensor& t, int root, int size);

}  // namespace elastron::parallel
