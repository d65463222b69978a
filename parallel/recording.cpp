#include "parallel/recording.h"

#include "core/trace.h"
#include "parallel/collective_shapes.h"

namespace elastron::parallel {

RecordingCommunicator::RecordingCommunicator(std::string axis, int rank, int size,
                                             CollectiveLog& log)
    : axis_(std::move(axis)), rank_(rank), size_(size), log_(log) {
  ELASTRON_CHECK(size >= 1 && rank >= 0 && rank < size, "rank outside the group");
}

Pending RecordingCommunicator::record(std::string_view operation, size_t bytes, bool host) {
  log_.push_back({std::string(operation), axis_, static_cast<int64_t>(bytes), host, trace_path()});
  return {};
}

// This rank's part of `size_` equal ones, [1, numbers].
Tensor RecordingCommunicator::own_part(const Tensor& whole) const {
  return whole.view({size_, whole.numel() / size_}).slice(0, rank_, rank_ + 1);
}

void RecordingCommunicator::fill(Tensor& whole, const Tensor& part) const {
  if (!whole.device().holds_values()) return;
  Tensor parts = whole.view({size_, part.numel()});
  for (int64_t r = 0; r < size_; ++r) parts.slice(0, r, r + 1).copy_from(part);
}

Pending RecordingCommunicator::all_reduce(Tensor& t, ReduceOp) {
  check_all_reduce(t);
  return record("all_reduce", t.bytes());
}

Pending RecordingCommunicator::all_gather(const Tensor& in, Tensor& out) {
  check_all_gather(in, out, size_);
  fill(out, in.view({1, in.numel()}));
  return record("all_gather", out.bytes());
}

Pending RecordingCommunicator::reduce_scatter(const Tensor& in, Tensor& out) {
  check_reduce_scatter(in, out, size_);
  if (out.device().holds_values()) out.copy_from(own_part(in).view(out.shape()));
  return record("reduce_scatter", in.bytes());
}

Pending RecordingCommunicator::all_to_all(const Tensor& in, Tensor& out) {
  check_all_to_all(in, out, size_);
  fill(out, own_part(in));
  return record("all_to_all", in.bytes());
}

Pending RecordingCommunicator::broadcast(Tensor& t, int root) {
  check_broadcast(t, root, size_);
  return record("broadcast", t.bytes());
}

void RecordingCommunicator::barrier() { record("barrier", 0, /*host=*/true).wait(); }

void RecordingCommunicator::all_reduce_host(std::span<double> values, ReduceOp) {
  record("all_reduce", values.size_bytes(), /*host=*/true).wait();
}

void RecordingCommunicator::all_reduce_host(std::span<int64_t> values, ReduceOp) {
  record("all_reduce", values.size_bytes(), /*host=*/true).wait();
}

std::vector<std::string> RecordingCommunicator::all_gather_host(const std::string& value) {
  record("all_gather", value.size() * static_cast<size_t>(size_), /*host=*/true).wait();
  return std::vector<std::string>(static_cast<size_t>(size_), value);
}

std::string RecordingCommunicator::broadcast_host(const std::string& value, int root) {
  ELASTRON_CHECK(root >= 0 && root < size_, "root outside the group");
  record("broadcast", value.size(), /*host=*/true).wait();
  return value;
}

}  // namespace elastron::parallel
