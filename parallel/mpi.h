// Collectives over MPI. Every operation is started without blocking; wait() blocks. Tensors of
// another device are staged through host memory, which waits for the device at the start.
//
// Same bits on every rank: of Open MPI's reductions, recursive doubling adds the same two partial
// sums on both partners (IEEE addition commutes), ring and reduce-scatter-based ones compute each
// element once and copy it, tree-based ones reduce to a root and broadcast. None depends on the
// order in which messages arrive, so repeats give the same bits too. Both are tested.
#pragma once
#include <mpi.h>

#include "parallel/activity.h"
#include "parallel/communicator.h"

namespace elastron::parallel {

class MpiCommunicator final : public Communicator {
 public:
  // Made by World::split, which owns `handle`.
  MpiCommunicator(MPI_Comm handle, std::string axis, Activity& activity,
                  int64_t max_bytes_per_call);

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  std::string_view axis() const override { return axis_; }
  Pending all_reduce(Tensor& t, ReduceOp op) override;
  Pending all_gather(const Tensor& in, Tensor& out) override;
  Pending reduce_scatter(const Tensor& in, Tensor& out) override;
  Pending all_to_all(const Tensor& in, Tensor& out) override;
  Pending broadcast(Tensor& t, int root) override;
  void barrier() override;
  void all_reduce_host(std::span<double> values, ReduceOp op) override;
  void all_reduce_host(std::span<int64_t> values, ReduceOp op) override;
  std::vector<std::string> all_gather_host(const std::string& value) override;
  std::string broadcast_host(const std::string& value, int root) override;

  // For files that all ranks of the group write together.
  MPI_Comm handle() const { return handle_; }

 private:
  class Transfer;
  // Most elements of `dtype` in one call, when every rank contributes `parts` such pieces.
  int64_t piece(DType dtype, int parts) const;
  void start_all_reduce(Transfer& transfer, void* data, int64_t count, DType dtype, ReduceOp op);
  void start_reduce_scatter(Transfer& transfer, const Tensor& in, Tensor& out);
  void start_broadcast(Transfer& transfer, void* data, int64_t count, DType dtype, int root);
  template <class T>
  void reduce_host(std::span<T> values, ReduceOp op);

  MPI_Comm handle_;
  std::string axis_;
  Activity& activity_;
  int64_t max_bytes_per_call_;
  int rank_ = 0, size_ = 1;
};

// Throws CommunicationError with MPI's text unless `status` is MPI_SUCCESS.
void check_mpi(int status, std::string_view operation, std::string_view axis, int rank, int size);

}  // namespace elastron::parallel
