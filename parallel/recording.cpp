#include "parallel/recording.h"

#include <utility>

#include "core/trace.h"
#include "ops/elementwise.h"
#include "parallel/bfloat16_sum.h"
#include "parallel/collective_shapes.h"

namespace elastron::parallel {

namespace {

// NCCL would have such a sum made by a kernel of ours.
bool is_planned_sum(const Tensor& t) {
  const Device& device = t.device();
  return device.kind() == DeviceKind::meta && device.behaves_as() == DeviceKind::cuda &&
         t.dtype() == DType::bf16 && t.numel() > 0;
}

}  // namespace

RecordingCommunicator::RecordingCommunicator(std::string axis, int rank, int size,
                                             CollectiveLog& log)
    : axis_(std::move(axis)), rank_(rank), size_(size), log_(log) {
  ELASTRON_CHECK(size >= 1 && rank >= 0 && rank < size, "rank outside the group");
}

void RecordingCommunicator::note(std::string_view operation, size_t bytes, bool host) {
  log_.push_back({std::string(operation), axis_, static_cast<int64_t>(bytes), host, trace_path()});
}

Pending RecordingCommunicator::record(std::string_view operation, size_t bytes,
                                      std::vector<Tensor> kept) {
  note(operation, bytes);
  return Pending([kept = std::move(kept)] {});
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

Pending RecordingCommunicator::all_reduce(Tensor& t, ReduceOp op) {
  check_all_reduce(t);
  if (op != ReduceOp::sum || !is_planned_sum(t)) return record("all_reduce", t.bytes(), {t});
  note("all_reduce", t.bytes());
  const Bfloat16Sum sum(t, size_);
  Tensor mine = sum.part(rank_);
  ops::sum_parts(sum.parts.view({size_, sum.count}), mine);
  return Pending([sum, t]() mutable { sum.bring_back(t); });
}

Pending RecordingCommunicator::all_gather(const Tensor& in, Tensor& out) {
  check_all_gather(in, out, size_);
  fill(out, in.view({1, in.numel()}));
  return record("all_gather", out.bytes(), {in, out});
}

Pending RecordingCommunicator::reduce_scatter(const Tensor& in, Tensor& out) {
  check_reduce_scatter(in, out, size_);
  if (out.device().holds_values()) out.copy_from(own_part(in).view(out.shape()));
  if (!is_planned_sum(in)) return record("reduce_scatter", in.bytes(), {in, out});
  const Tensor parts = parts_of_scattered(in);
  Tensor sum = out.view({out.numel()});
  ops::sum_parts(parts.view({size_, out.numel()}), sum);
  return record("reduce_scatter", in.bytes(), {in, out, parts});
}

Pending RecordingCommunicator::all_to_all(const Tensor& in, Tensor& out) {
  check_all_to_all(in, out, size_);
  fill(out, own_part(in));
  return record("all_to_all", in.bytes(), {in, out});
}

Pending RecordingCommunicator::broadcast(Tensor& t, int root) {
  check_broadcast(t, root, size_);
  return record("broadcast", t.bytes(), {t});
}

void RecordingCommunicator::barrier() { note("barrier", 0, /*host=*/true); }

void RecordingCommunicator::all_reduce_host(std::span<double> values, ReduceOp) {
  note("all_reduce", values.size_bytes(), /*host=*/true);
}

void RecordingCommunicator::all_reduce_host(std::span<int64_t> values, ReduceOp) {
  note("all_reduce", values.size_bytes(), /*host=*/true);
}

std::vector<std::string> RecordingCommunicator::all_gather_host(const std::string& value) {
  note("all_gather", value.size() * static_cast<size_t>(size_), /*host=*/true);
  return std::vector<std::string>(static_cast<size_t>(size_), value);
}

std::string RecordingCommunicator::broadcast_host(const std::string& value, int root) {
  ELASTRON_CHECK(root >= 0 && root < size_, "root outside the group");
  note("broadcast", value.size(), /*host=*/true);
  return value;
}

}  // namespace elastron::parallel
