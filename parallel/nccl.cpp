#include "parallel/nccl.h"

#include <fmt/format.h>

#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "core/cuda/event.h"
#include "ops/cuda/elementwise.h"
#include "parallel/activity.h"
#include "parallel/bfloat16_sum.h"
#include "parallel/collective_shapes.h"
#include "parallel/nccl_library.h"
#include "parallel/world.h"

namespace elastron::parallel {

namespace {

constexpr std::chrono::milliseconds kLook{20};

ncclDataType_t nccl_type(DType t) {
  switch (t) {
    case DType::f64: return ncclFloat64;
    case DType::f32: return ncclFloat32;
    case DType::bf16: return ncclBfloat16;
    case DType::i64: return ncclInt64;
    case DType::i32: return ncclInt32;
    case DType::u8:
    case DType::e4m3: return ncclUint8;  // moved only
  }
  throw LogicError("unknown dtype");
}

ncclRedOp_t nccl_op(ReduceOp op) {
  switch (op) {
    case ReduceOp::sum: return ncclSum;
    case ReduceOp::max: return ncclMax;
    case ReduceOp::min: return ncclMin;
  }
  throw LogicError("unknown reduction");
}

bool on_cpu(const Tensor& t) { return t.device().kind() == DeviceKind::cpu; }

// One group's communicator, and who it is in messages.
struct Group {
  std::string axis;
  int rank = 0, size = 1;
  ncclComm_t handle = nullptr;  // made by the first collective of a GPU tensor
};

// An operation on the second stream.
struct Operation {
  const Group* group = nullptr;
  const char* name = "";
  int64_t number = 0;
  cuda::Event ready;  // its inputs are there
  cuda::Event ended;
};

// The main thread issues; the watching thread only asks for errors, which NCCL allows at any time.
class NcclBackend final : public CollectiveBackend {
 public:
  NcclBackend(World& world, cuda::CudaDevice& device, std::unique_ptr<NcclLibrary> library)
      : world_(world), device_(device), library_(std::move(library)), stream_(device) {
    thread_ = std::thread([this] { watch(); });
  }

  ~NcclBackend() override {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    wake_.notify_all();
    thread_.join();
    // After an error an operation may be under way that never ends; the process is about to go.
    if (std::uncaught_exceptions() > 0) return;
    // Other ranks may still need what this one has under way; the device's stream waits for all.
    device_.synchronize();
    for (const auto& group : groups_) {
      if (group->handle != nullptr) library_->comm_destroy(group->handle);
    }
  }

  std::unique_ptr<Communicator> over(std::unique_ptr<Communicator> host) override;
  std::string library() const override { return "NCCL " + library_->version(); }
  void abandon() override {
    const std::lock_guard lock(mutex_);
    for (const auto& group : groups_) {
      if (group->handle != nullptr) library_->comm_abort(std::exchange(group->handle, nullptr));
    }
    under_way_.clear();
  }

  Group& new_group(const Communicator& host) {
    auto group = std::make_unique<Group>();
    group->axis = host.axis();
    group->rank = host.rank();
    group->size = host.size();
    const std::lock_guard lock(mutex_);
    return *groups_.emplace_back(std::move(group));
  }

  void check(ncclResult_t result, const Group& group, std::string_view operation) const {
    if (result != ncclSuccess)
      throw CommunicationError(text(result, group, operation), where(group), kAdvice);
  }

  // The group's NCCL communicator, made if it is not there. Collective over `host`, the group's.
  ncclComm_t connected(Group& group, Communicator& host) {
    if (group.handle != nullptr) return group.handle;
    ncclUniqueId id{};
    ncclResult_t result = ncclSuccess;
    if (group.rank == 0) result = library_->get_unique_id(&id);
    // An empty id: the first rank could not make one, and says why.
    std::string bytes;
    if (result == ncclSuccess) bytes.assign(id.internal, sizeof id.internal);
    bytes = host.broadcast_host(bytes, 0);
    check(result, group, "NCCL's start");
    if (bytes.size() != sizeof id.internal) {
      throw CommunicationError("NCCL's start failed on rank 0 of the group", where(group), kAdvice);
    }
    std::memcpy(id.internal, bytes.data(), sizeof id.internal);
    ncclComm_t handle = nullptr;
    const Activity::Waiting waiting(world_.activity(), "NCCL's start", group.axis,
                                    world_.activity().started());
    check(library_->comm_init_rank(&handle, group.size, id, group.rank), group, "NCCL's start");
    const std::lock_guard lock(mutex_);
    return group.handle = handle;
  }

  // Has `issue(stream)` put work on the second stream, after all that the device's own has been
  // given. Returns what has the first one wait for it.
  template <class F>
  std::shared_ptr<Operation> start(const Group& group, const char* name, const F& issue) {
    auto operation = std::make_shared<Operation>();
    operation->group = &group;
    operation->name = name;
    operation->number = world_.activity().started();
    operation->ready.record(device_.stream());
    operation->ready.hold_back(stream_.get());
    {
      const Activity::Waiting waiting(world_.activity(), name, group.axis, operation->number);
      issue(stream_.get());
    }
    operation->ended.record(stream_.get());
    const std::lock_guard lock(mutex_);
    under_way_.push_back(operation);
    while (under_way_.size() > 1 && under_way_.front()->ended.passed()) under_way_.pop_front();
    return operation;
  }

  const NcclLibrary& functions() const { return *library_; }
  cuda::CudaDevice& device() const { return device_; }

 private:
  static constexpr const char* kAdvice =
      "run with NCCL_DEBUG=INFO to see why, or set parallel.communicator: mpi";

  static std::string where(const Group& group) {
    return fmt::format("{} axis, rank {} of {}", group.axis, group.rank, group.size);
  }
  std::string text(ncclResult_t result, const Group& group, std::string_view operation) const {
    const char* more =
        library_->get_last_error != nullptr ? library_->get_last_error(group.handle) : nullptr;
    const bool has_more = more != nullptr && more[0] != '\0';
    return fmt::format("{} failed: {}{}{}", operation, library_->get_error_string(result),
                       has_more ? "; " : "", has_more ? more : "");
  }

  void watch() {
    RankActivity& mine = world_.activity().mine();
    std::unique_lock lock(mutex_);
    bool here = false;
    while (!stop_) {
      // Not before the first collective: this thread's first call wakes the driver up for it.
      if (!here && !under_way_.empty()) {
        cuda::use_from_this_thread(device_);
        here = true;
      }
      while (!under_way_.empty() && under_way_.front()->ended.passed()) under_way_.pop_front();
      const Operation* oldest = under_way_.empty() ? nullptr : under_way_.front().get();
      if (oldest != nullptr && oldest->ready.passed()) {
        mine.gpu_collective.store(fmt::format("{} ({})", oldest->name, oldest->group->axis));
        mine.gpu_waiting_for.store(oldest->number, std::memory_order_release);
      } else {
        mine.gpu_waiting_for.store(0, std::memory_order_release);
      }
      for (const auto& group : groups_) look_for_errors(*group);
      wake_.wait_for(lock, kLook);
    }
    mine.gpu_waiting_for.store(0, std::memory_order_release);
  }

  void look_for_errors(const Group& group) {
    ncclResult_t state = ncclSuccess;
    if (group.handle == nullptr) return;
    if (library_->comm_get_async_error(group.handle, &state) != ncclSuccess) return;
    if (state == ncclSuccess || state == ncclInProgress) return;
    const char* operation = "a collective";
    for (const auto& candidate : under_way_) {
      if (candidate->group != &group || candidate->ended.passed()) continue;
      operation = candidate->name;
      break;
    }
    if (world_.activity().take_the_word()) {
      std::fprintf(stderr, "error: %s (%s): %s\n", text(state, group, operation).c_str(),
                   where(group).c_str(), kAdvice);
      std::fflush(stderr);
    } else {
      // Another rank of this machine is saying it.
      std::this_thread::sleep_for(std::chrono::seconds(1));
    }
    world_.abort(ExitCode::communication);
  }

  World& world_;
  cuda::CudaDevice& device_;
  std::unique_ptr<NcclLibrary> library_;
  cuda::SideStream stream_;
  std::mutex mutex_;  // what follows
  std::condition_variable wake_;
  bool stop_ = false;
  std::vector<std::unique_ptr<Group>> groups_;
  std::deque<std::shared_ptr<Operation>> under_way_;  // in the order of the stream
  std::thread thread_;
};

class NcclCommunicator final : public Communicator {
 public:
  NcclCommunicator(NcclBackend& backend, std::unique_ptr<Communicator> host)
      : backend_(backend), host_(std::move(host)), group_(backend.new_group(*host_)) {}

  int rank() const override { return group_.rank; }
  int size() const override { return group_.size; }
  std::string_view axis() const override { return group_.axis; }

  Pending all_reduce(Tensor& t, ReduceOp op) override;
  Pending all_gather(const Tensor& in, Tensor& out) override;
  Pending reduce_scatter(const Tensor& in, Tensor& out) override;
  Pending all_to_all(const Tensor& in, Tensor& out) override;
  Pending broadcast(Tensor& t, int root) override;

  void barrier() override { host_->barrier(); }
  void all_reduce_host(std::span<double> values, ReduceOp op) override {
    host_->all_reduce_host(values, op);
  }
  void all_reduce_host(std::span<int64_t> values, ReduceOp op) override {
    host_->all_reduce_host(values, op);
  }
  std::vector<std::string> all_gather_host(const std::string& value) override {
    return host_->all_gather_host(value);
  }
  std::string broadcast_host(const std::string& value, int root) override {
    return host_->broadcast_host(value, root);
  }

 private:
  // `issue(comm, stream)` on the second stream. `kept` live until it is waited for.
  template <class F>
  Pending start(const char* name, std::vector<Tensor> kept, const F& issue) {
    ncclComm_t comm = backend_.connected(group_, *host_);
    auto operation =
        backend_.start(group_, name, [&](cuda::Stream stream) { issue(comm, stream); });
    return Pending([operation, kept = std::move(kept), &device = backend_.device()] {
      operation->ended.hold_back(device.stream());
    });
  }
  void check(ncclResult_t result, const char* name) const { backend_.check(result, group_, name); }

  // Part r of `in` to rank r, part r of `out` from rank r; `count` elements each.
  void exchange(const char* name, const Tensor& in, const Tensor& out, int64_t count,
                ncclComm_t comm, cuda::Stream stream) const;
  Pending sum_bfloat16(Tensor& t);

  NcclBackend& backend_;
  std::unique_ptr<Communicator> host_;
  Group& group_;
};

std::unique_ptr<Communicator> NcclBackend::over(std::unique_ptr<Communicator> host) {
  if (host->size() == 1) return host;
  return std::make_unique<NcclCommunicator>(*this, std::move(host));
}

Pending NcclCommunicator::all_reduce(Tensor& t, ReduceOp op) {
  if (on_cpu(t)) return host_->all_reduce(t, op);
  check_all_reduce(t);
  if (t.numel() == 0) return {};
  if (t.dtype() == DType::bf16 && op == ReduceOp::sum) return sum_bfloat16(t);
  return start("all_reduce", {t}, [&](ncclComm_t comm, cuda::Stream stream) {
    check(backend_.functions().all_reduce(t.raw(), t.raw(), size_t(t.numel()), nccl_type(t.dtype()),
                                          nccl_op(op), comm, stream),
          "all_reduce");
  });
}

Pending NcclCommunicator::sum_bfloat16(Tensor& t) {
  const Bfloat16Sum sum(t, size());
  Tensor mine = sum.part(rank());
  const char* name = "all_reduce";
  auto inner =
      std::make_shared<Pending>(start(name, {t}, [&](ncclComm_t comm, cuda::Stream stream) {
        exchange(name, sum.whole, sum.parts, sum.count, comm, stream);
        ops::cuda::sum_parts(sum.parts.data<bf16>(), mine.data<bf16>(), size(), sum.count, stream);
        check(backend_.functions().all_gather(mine.raw(), sum.whole.raw(), size_t(sum.count),
                                              ncclBfloat16, comm, stream),
              name);
      }));
  return Pending([inner, sum, t]() mutable {
    inner->wait();
    sum.bring_back(t);
  });
}

Pending NcclCommunicator::all_gather(const Tensor& in, Tensor& out) {
  if (on_cpu(out)) return host_->all_gather(in, out);
  check_all_gather(in, out, size());
  if (in.numel() == 0) return {};
  return start("all_gather", {in, out}, [&](ncclComm_t comm, cuda::Stream stream) {
    check(backend_.functions().all_gather(in.raw(), out.raw(), size_t(in.numel()),
                                          nccl_type(in.dtype()), comm, stream),
          "all_gather");
  });
}

Pending NcclCommunicator::reduce_scatter(const Tensor& in, Tensor& out) {
  if (on_cpu(out)) return host_->reduce_scatter(in, out);
  check_reduce_scatter(in, out, size());
  if (out.numel() == 0) return {};
  const char* name = "reduce_scatter";
  if (in.dtype() == DType::bf16) {
    const Tensor parts = parts_of_scattered(in);
    return start(name, {in, out, parts}, [&](ncclComm_t comm, cuda::Stream stream) {
      exchange(name, in, parts, out.numel(), comm, stream);
      ops::cuda::sum_parts(parts.data<bf16>(), out.data<bf16>(), size(), out.numel(), stream);
    });
  }
  return start(name, {in, out}, [&](ncclComm_t comm, cuda::Stream stream) {
    check(backend_.functions().reduce_scatter(in.raw(), out.raw(), size_t(out.numel()),
                                              nccl_type(in.dtype()), ncclSum, comm, stream),
          name);
  });
}

Pending NcclCommunicator::all_to_all(const Tensor& in, Tensor& out) {
  if (on_cpu(out)) return host_->all_to_all(in, out);
  check_all_to_all(in, out, size());
  if (in.numel() == 0) return {};
  return start("all_to_all", {in, out}, [&](ncclComm_t comm, cuda::Stream stream) {
    exchange("all_to_all", in, out, in.numel() / size(), comm, stream);
  });
}

void NcclCommunicator::exchange(const char* name, const Tensor& in, const Tensor& out,
                                int64_t count, ncclComm_t comm, cuda::Stream stream) const {
  const NcclLibrary& nccl = backend_.functions();
  const ncclDataType_t type = nccl_type(in.dtype());
  const int64_t bytes = count * int64_t(dtype_size(in.dtype()));
  ncclResult_t result = nccl.group_start();
  check(result, name);
  // The group is closed whatever happens in it; the first failure is the one to report.
  const auto note = [&result](ncclResult_t next) {
    if (result == ncclSuccess) result = next;
  };
  for (int r = 0; r < size(); ++r) {
    note(nccl.send(static_cast<const char*>(in.raw()) + r * bytes, size_t(count), type, r, comm,
                   stream));
    note(
        nccl.recv(static_cast<char*>(out.raw()) + r * bytes, size_t(count), type, r, comm, stream));
  }
  note(nccl.group_end());
  check(result, name);
}

Pending NcclCommunicator::broadcast(Tensor& t, int root) {
  if (on_cpu(t)) return host_->broadcast(t, root);
  check_broadcast(t, root, size());
  if (t.numel() == 0) return {};
  return start("broadcast", {t}, [&](ncclComm_t comm, cuda::Stream stream) {
    check(backend_.functions().broadcast(t.raw(), t.raw(), size_t(t.numel()), nccl_type(t.dtype()),
                                         root, comm, stream),
          "broadcast");
  });
}

}  // namespace

std::unique_ptr<CollectiveBackend> open_nccl(World& world, cuda::CudaDevice& device,
                                             std::string& why) {
  auto library = NcclLibrary::open(why);
  if (library == nullptr) return nullptr;
  return std::make_unique<NcclBackend>(world, device, std::move(library));
}

}  // namespace elastron::parallel
