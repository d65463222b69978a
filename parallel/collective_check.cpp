#include "parallel/collective_check.h"

#include <fmt/format.h>

#include <chrono>
#include <functional>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include "core/dispatch.h"
#include "core/tensor.h"

#if ELASTRON_WITH_NCCL
#include "core/cuda/device.h"
#include "core/cuda/event.h"
#endif

namespace elastron::parallel {

namespace {

constexpr int64_t kCount = 1003;

// Rank r's element i: a whole number that bfloat16 holds, as do sums over many ranks.
double element(int rank, int64_t i) { return double(rank % 3 + i * 7 % 11) - 5; }

using Values = std::function<double(int64_t)>;

template <class T>
Tensor tensor_of(int64_t count, const Values& value, Device& device) {
  std::vector<T> values;
  for (int64_t i = 0; i < count; ++i) values.push_back(T(float(value(i))));
  return Tensor::from(values, {count}, device);
}

class Check {
 public:
  Check(Communicator& group, Device& device, double seconds)
      : group_(group), device_(device), seconds_(seconds) {}

  const std::string& wrong() const { return wrong_; }
  bool stopped() const { return stopped_; }

  template <class T>
  void all() {
    const int n = group_.size(), me = group_.rank();
    const auto mine = [me](int64_t i) { return element(me, i); };
    const auto sum = [n](int64_t i) {
      double total = 0;
      for (int r = 0; r < n; ++r) total += element(r, i);
      return total;
    };
    // Of `ranks` parts, what rank r has at element i of them together.
    const auto in_parts = [](int r, int64_t i) { return element(r + int(i / kCount), i % kCount); };
    const auto parts = [&](int64_t i) { return in_parts(me, i); };
    Tensor reduced = tensor_of<T>(kCount, mine, device_);
    finish<T>("all_reduce", group_.all_reduce(reduced, ReduceOp::sum), reduced, sum);
    if (stopped_) return;
    const Tensor one = tensor_of<T>(kCount, mine, device_);
    const Tensor many = tensor_of<T>(n * kCount, parts, device_);
    Tensor gathered = Tensor::zeros({n * kCount}, dtype_of<T>, device_);
    Tensor scattered = Tensor::zeros({kCount}, dtype_of<T>, device_);
    Tensor exchanged = Tensor::zeros({n * kCount}, dtype_of<T>, device_);
    Tensor sent = tensor_of<T>(kCount, mine, device_);
    finish<T>("all_gather", group_.all_gather(one, gathered), gathered,
              [](int64_t i) { return element(int(i / kCount), i % kCount); });
    if (stopped_) return;
    finish<T>("reduce_scatter", group_.reduce_scatter(many, scattered), scattered, [&](int64_t i) {
      double total = 0;
      for (int r = 0; r < n; ++r) total += in_parts(r, me * kCount + i);
      return total;
    });
    if (stopped_) return;
    finish<T>("all_to_all", group_.all_to_all(many, exchanged), exchanged,
              [&](int64_t i) { return in_parts(int(i / kCount), me * kCount + i % kCount); });
    if (stopped_) return;
    finish<T>("broadcast", group_.broadcast(sent, n - 1), sent,
              [n](int64_t i) { return element(n - 1, i); });
  }

 private:
  // Whether the operation went well on all ranks: none goes on to the next one alone.
  template <class T>
  void finish(const char* name, Pending pending, const Tensor& result, const Values& wanted) {
    compare<T>(name, std::move(pending), result, wanted);
    double wrong[] = {wrong_.empty() ? 0.0 : 1.0};
    group_.all_reduce_host(std::span<double>(wrong), ReduceOp::sum);
    stopped_ = wrong[0] > 0;
  }

  // Waits for the operation and compares what it left in `result`.
  template <class T>
  void compare(const char* name, Pending pending, const Tensor& result, const Values& wanted) {
    pending.wait();
    const auto fail = [&](const std::string& how) {
      wrong_ =
          fmt::format("{} axis: {} in {}{}", group_.axis(), name, dtype_name(dtype_of<T>), how);
    };
    if (!ends_in_time()) return fail(fmt::format(" did not end in {:g} s", seconds_));
    const auto found = result.to_vector<T>();
    for (size_t i = 0; i < found.size(); ++i) {
      const double want = wanted(int64_t(i));
      if (double(found[i]) == want) continue;
      return fail(fmt::format(": {} in place of {} (element {})", double(found[i]), want, i));
    }
  }

  bool ends_in_time() const {
#if ELASTRON_WITH_NCCL
    if (device_.kind() == DeviceKind::cuda) {
      cuda::Event ended;
      ended.record(cuda::stream_of(device_));
      const auto until = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds_);
      while (!ended.passed()) {
        if (std::chrono::steady_clock::now() > until) return false;
        std::this_thread::sleep_for(std::chrono::microseconds(50));
      }
    }
#endif
    return true;
  }

  Communicator& group_;
  Device& device_;
  double seconds_;
  std::string wrong_;     // here
  bool stopped_ = false;  // something is wrong on some rank
};

}  // namespace

std::string wrong_collective(Communicator& group, Device& device, double seconds) {
  if (group.size() == 1) return "";
  Check check(group, device, seconds);
  check.all<float>();
  if (!check.stopped()) check.all<bf16>();
  return check.wrong();
}

}  // namespace elastron::parallel
