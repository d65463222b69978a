#include "parallel/mpi.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "ops/elementwise.h"
#include "parallel/collective_shapes.h"

namespace elastron::parallel {

namespace {

MPI_Datatype mpi_type(DType t) {
  switch (t) {
    case DType::f64: return MPI_DOUBLE;
    case DType::f32: return MPI_FLOAT;
    case DType::bf16: return MPI_UINT16_T;  // moved only; sums are staged in float32
    case DType::i64: return MPI_INT64_T;
    case DType::i32: return MPI_INT32_T;
    case DType::u8:
    case DType::e4m3: return MPI_UINT8_T;  // moved only
  }
  throw LogicError("unknown dtype");
}

MPI_Op mpi_op(ReduceOp op) {
  switch (op) {
    case ReduceOp::sum: return MPI_SUM;
    case ReduceOp::max: return MPI_MAX;
    case ReduceOp::min: return MPI_MIN;
  }
  throw LogicError("unknown reduction");
}

char* at(void* base, int64_t element, DType dtype) {
  return static_cast<char*>(base) + element * static_cast<int64_t>(dtype_size(dtype));
}

bool on_cpu(const Tensor& t) { return t.device().kind() == DeviceKind::cpu; }

// Once `staged` is done, its result goes to where it was asked for.
Pending brought_back(Pending staged, Tensor host, Tensor to) {
  auto inner = std::make_shared<Pending>(std::move(staged));
  return Pending([inner, host, to]() mutable {
    inner->wait();
    to.transfer_from(host);
  });
}

}  // namespace

void check_mpi(int status, std::string_view operation, std::string_view axis, int rank, int size) {
  if (status == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  if (MPI_Error_string(status, text, &length) != MPI_SUCCESS) length = 0;
  throw CommunicationError(
      fmt::format(
          "{} failed: {}", operation,
          length > 0 ? std::string(text, size_t(length)) : fmt::format("MPI error {}", status)),
      fmt::format("{} axis, rank {} of {}", axis, rank, size),
      "see whether all ranks are alive and run the same program and configuration");
}

// Requests under way on behalf of one operation, and the buffers they use.
class MpiCommunicator::Transfer {
 public:
  Transfer(MpiCommunicator& owner, std::string_view operation)
      : owner_(owner), operation_(operation), number_(owner.activity_.started()) {}
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;
  ~Transfer() {
    for (MPI_Datatype& type : types_) MPI_Type_free(&type);
  }

  MPI_Request* next() { return &requests_.emplace_back(MPI_REQUEST_NULL); }
  void check(int status) const {
    check_mpi(status, operation_, owner_.axis_, owner_.rank_, owner_.size_);
  }
  void keep(const Tensor& t) { kept_.push_back(t); }
  // `count` elements, laid every `stride` elements when repeated.
  MPI_Datatype strided(int64_t count, int64_t stride, DType dtype) {
    MPI_Datatype block = MPI_DATATYPE_NULL, resized = MPI_DATATYPE_NULL;
    check(MPI_Type_contiguous(int(count), mpi_type(dtype), &block));
    const int status =
        MPI_Type_create_resized(block, 0, MPI_Aint(stride) * MPI_Aint(dtype_size(dtype)), &resized);
    MPI_Type_free(&block);
    check(status);
    types_.push_back(resized);
    check(MPI_Type_commit(&types_.back()));
    return resized;
  }

  void wait() {
    const Activity::Waiting waiting(owner_.activity_, operation_, owner_.axis_, number_);
    std::vector<MPI_Status> statuses(requests_.size());
    const int status = MPI_Waitall(int(requests_.size()), requests_.data(), statuses.data());
    if (status == MPI_ERR_IN_STATUS) {
      for (const MPI_Status& one : statuses) {
        if (one.MPI_ERROR != MPI_ERR_PENDING) check(one.MPI_ERROR);
      }
    }
    check(status);
  }

 private:
  MpiCommunicator& owner_;
  std::string_view operation_;  // a literal
  int64_t number_;
  std::vector<MPI_Request> requests_;
  std::vector<MPI_Datatype> types_;
  std::vector<Tensor> kept_;
};

MpiCommunicator::MpiCommunicator(MPI_Comm handle, std::string axis, Activity& activity,
                                 int64_t max_bytes_per_call)
    : handle_(handle),
      axis_(std::move(axis)),
      activity_(activity),
      max_bytes_per_call_(max_bytes_per_call) {
  ELASTRON_CHECK(max_bytes_per_call >= 1 && max_bytes_per_call <= std::numeric_limits<int>::max(),
                 "MPI counts are ints");
  MPI_Comm_rank(handle_, &rank_);
  MPI_Comm_size(handle_, &size_);
}

int64_t MpiCommunicator::piece(DType dtype, int parts) const {
  return std::max<int64_t>(1, max_bytes_per_call_ / int64_t(dtype_size(dtype)) / parts);
}

void MpiCommunicator::start_all_reduce(Transfer& transfer, void* data, int64_t count, DType dtype,
                                       ReduceOp op) {
  const int64_t most = piece(dtype, 1);
  for (int64_t begin = 0; begin < count; begin += most) {
    // MPI_IN_PLACE belongs to the whole call: each piece names its own part as the buffer.
    transfer.check(MPI_Iallreduce(MPI_IN_PLACE, at(data, begin, dtype),
                                  int(std::min(most, count - begin)), mpi_type(dtype), mpi_op(op),
                                  handle_, transfer.next()));
  }
}

Pending MpiCommunicator::all_reduce(Tensor& t, ReduceOp op) {
  check_all_reduce(t);
  if (!on_cpu(t)) {
    Tensor host = t.on_host();
    Pending staged = all_reduce(host, op);
    return brought_back(std::move(staged), host, t);
  }
  auto transfer = std::make_shared<Transfer>(*this, "all_reduce");
  if (t.dtype() != DType::bf16) {
    transfer->keep(t);
    start_all_reduce(*transfer, t.raw(), t.numel(), t.dtype(), op);
    return Pending([transfer] { transfer->wait(); });
  }
  const Tensor staged = ops::cast(t, DType::f32);
  start_all_reduce(*transfer, staged.raw(), staged.numel(), DType::f32, op);
  return Pending([transfer, staged, t]() mutable {
    transfer->wait();
    ops::cast_into(staged, t);
  });
}

Pending MpiCommunicator::all_gather(const Tensor& in, Tensor& out) {
  check_all_gather(in, out, size_);
  if (!on_cpu(out)) {
    Tensor host = Tensor::empty(out.shape(), out.dtype(), host_device());
    Pending staged = all_gather(in.on_host(), host);
    return brought_back(std::move(staged), host, out);
  }
  auto transfer = std::make_shared<Transfer>(*this, "all_gather");
  transfer->keep(in);
  transfer->keep(out);
  const DType dtype = in.dtype();
  const int64_t count = in.numel(), most = piece(dtype, size_);
  // A rank's part may already lie where it belongs.
  const bool in_place = in.raw() == at(out.raw(), rank_ * count, dtype);
  for (int64_t begin = 0; begin < count; begin += most) {
    const int64_t n = std::min(most, count - begin);
    const MPI_Datatype part = transfer->strided(n, count, dtype);
    const void* source = in_place ? MPI_IN_PLACE : at(in.raw(), begin, dtype);
    transfer->check(MPI_Iallgather(source, int(n), mpi_type(dtype), at(out.raw(), begin, dtype), 1,
                                   part, handle_, transfer->next()));
  }
  return Pending([transfer] { transfer->wait(); });
}

void MpiCommunicator::start_reduce_scatter(Transfer& transfer, const Tensor& in, Tensor& out) {
  const DType dtype = in.dtype();
  const int64_t count = out.numel(), most = piece(dtype, size_);
  if (count <= most) {
    if (count == 0) return;
    transfer.check(MPI_Ireduce_scatter_block(in.raw(), out.raw(), int(count), mpi_type(dtype),
                                             MPI_SUM, handle_, transfer.next()));
    return;
  }
  // A piece of every rank's part is not contiguous, and MPI's own operations take no derived
  // types: reduce piece by piece to its owner.
  for (int64_t begin = 0; begin < count; begin += most) {
    for (int root = 0; root < size_; ++root) {
      transfer.check(MPI_Ireduce(at(in.raw(), root * count + begin, dtype),
                                 root == rank_ ? at(out.raw(), begin, dtype) : nullptr,
                                 int(std::min(most, count - begin)), mpi_type(dtype), MPI_SUM, root,
                                 handle_, transfer.next()));
    }
  }
}

Pending MpiCommunicator::reduce_scatter(const Tensor& in, Tensor& out) {
  check_reduce_scatter(in, out, size_);
  if (!on_cpu(out)) {
    Tensor host = Tensor::empty(out.shape(), out.dtype(), host_device());
    Pending staged = reduce_scatter(in.on_host(), host);
    return brought_back(std::move(staged), host, out);
  }
  auto transfer = std::make_shared<Transfer>(*this, "reduce_scatter");
  if (in.dtype() != DType::bf16) {
    transfer->keep(in);
    transfer->keep(out);
    start_reduce_scatter(*transfer, in, out);
    return Pending([transfer] { transfer->wait(); });
  }
  const Tensor staged_in = ops::cast(in, DType::f32);
  Tensor staged_out = Tensor::empty(out.shape(), DType::f32, out.device());
  transfer->keep(staged_in);
  start_reduce_scatter(*transfer, staged_in, staged_out);
  return Pending([transfer, staged_out, out]() mutable {
    transfer->wait();
    ops::cast_into(staged_out, out);
  });
}

Pending MpiCommunicator::all_to_all(const Tensor& in, Tensor& out) {
  check_all_to_all(in, out, size_);
  if (!on_cpu(out)) {
    Tensor host = Tensor::empty(out.shape(), out.dtype(), host_device());
    Pending staged = all_to_all(in.on_host(), host);
    return brought_back(std::move(staged), host, out);
  }
  auto transfer = std::make_shared<Transfer>(*this, "all_to_all");
  transfer->keep(in);
  transfer->keep(out);
  const DType dtype = in.dtype();
  const int64_t count = in.numel() / size_, most = piece(dtype, size_);
  for (int64_t begin = 0; begin < count; begin += most) {
    const MPI_Datatype part = transfer->strided(std::min(most, count - begin), count, dtype);
    transfer->check(MPI_Ialltoall(at(in.raw(), begin, dtype), 1, part, at(out.raw(), begin, dtype),
                                  1, part, handle_, transfer->next()));
  }
  return Pending([transfer] { transfer->wait(); });
}

void MpiCommunicator::start_broadcast(Transfer& transfer, void* data, int64_t count, DType dtype,
                                      int root) {
  const int64_t most = piece(dtype, 1);
  for (int64_t begin = 0; begin < count; begin += most) {
    transfer.check(MPI_Ibcast(at(data, begin, dtype), int(std::min(most, count - begin)),
                              mpi_type(dtype), root, handle_, transfer.next()));
  }
}

Pending MpiCommunicator::broadcast(Tensor& t, int root) {
  check_broadcast(t, root, size_);
  if (!on_cpu(t)) {
    Tensor host = t.on_host();
    Pending staged = broadcast(host, root);
    return brought_back(std::move(staged), host, t);
  }
  auto transfer = std::make_shared<Transfer>(*this, "broadcast");
  transfer->keep(t);
  start_broadcast(*transfer, t.raw(), t.numel(), t.dtype(), root);
  return Pending([transfer] { transfer->wait(); });
}

void MpiCommunicator::barrier() {
  Transfer transfer(*this, "barrier");
  transfer.check(MPI_Ibarrier(handle_, transfer.next()));
  transfer.wait();
}

template <class T>
void MpiCommunicator::reduce_host(std::span<T> values, ReduceOp op) {
  Transfer transfer(*this, "all_reduce");
  start_all_reduce(transfer, values.data(), int64_t(values.size()), dtype_of<T>, op);
  transfer.wait();
}

void MpiCommunicator::all_reduce_host(std::span<double> values, ReduceOp op) {
  reduce_host(values, op);
}

void MpiCommunicator::all_reduce_host(std::span<int64_t> values, ReduceOp op) {
  reduce_host(values, op);
}

std::vector<std::string> MpiCommunicator::all_gather_host(const std::string& value) {
  const auto ranks = static_cast<size_t>(size_);
  std::vector<int64_t> lengths(ranks, 0);
  lengths[size_t(rank_)] = int64_t(value.size());
  all_reduce_host(std::span<int64_t>(lengths), ReduceOp::sum);
  std::vector<int> counts(ranks), offsets(ranks);
  int64_t total = 0;
  for (size_t r = 0; r < ranks; ++r) {
    counts[r] = int(lengths[r]);
    offsets[r] = int(total);
    total += lengths[r];
    ELASTRON_CHECK(total <= std::numeric_limits<int>::max(), "strings too long to gather");
  }
  std::string all(size_t(total), '\0');
  Transfer transfer(*this, "all_gather");
  transfer.check(MPI_Iallgatherv(value.data(), counts[size_t(rank_)], MPI_BYTE, all.data(),
                                 counts.data(), offsets.data(), MPI_BYTE, handle_,
                                 transfer.next()));
  transfer.wait();
  std::vector<std::string> values;
  for (size_t r = 0; r < ranks; ++r) {
    values.push_back(all.substr(size_t(offsets[r]), size_t(counts[r])));
  }
  return values;
}

std::string MpiCommunicator::broadcast_host(const std::string& value, int root) {
  ELASTRON_CHECK(root >= 0 && root < size_, "root outside the group");
  int64_t length = int64_t(value.size());
  {
    Transfer transfer(*this, "broadcast");
    start_broadcast(transfer, &length, 1, DType::i64, root);
    transfer.wait();
  }
  std::string result = rank_ == root ? value : std::string(size_t(length), '\0');
  Transfer transfer(*this, "broadcast");
  start_broadcast(transfer, result.data(), length, DType::u8, root);
  transfer.wait();
  return result;
}

}  // namespace elastron::parallel
