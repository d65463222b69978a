// Collectives that move nothing and are written down instead: what a rank of a given layout would
// send, without ranks. Feeds `plan` and `--dry-run`.
#pragma once
#include <vector>

#include "parallel/communicator.h"

namespace elastron::parallel {

struct RecordedCollective {
  std::string operation;  // "all_reduce", "all_gather", ...
  std::string axis;
  int64_t bytes = 0;  // of this rank's larger buffer: out for all_gather, in for reduce_scatter
  bool host = false;  // small values of the host
  std::string range;  // trace_path() where it was called
  bool operator==(const RecordedCollective&) const = default;
};
using CollectiveLog = std::vector<RecordedCollective>;

// Outputs are as if every rank gave what this one does, so that a step goes on with numbers (on a
// meta device they have none); sums and broadcasts leave a tensor as it is. A meta device that stands
// for a GPU writes down what collectives over NCCL take of it. `log` must outlive the communicator.
class RecordingCommunicator final : public Communicator {
 public:
  RecordingCommunicator(std::string axis, int rank, int size, CollectiveLog& log);

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

 private:
  void note(std::string_view operation, size_t bytes, bool host = false);
  // The same of tensors, which live until it is waited for.
  Pending record(std::string_view operation, size_t bytes, std::vector<Tensor> kept);
  Tensor own_part(const Tensor& whole) const;
  void fill(Tensor& whole, const Tensor& part) const;

  std::string axis_;
  int rank_ = 0, size_ = 1;
  CollectiveLog& log_;
};

}  // namespace elastron::parallel
