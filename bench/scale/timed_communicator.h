// A communicator that adds up the CPU time of its calls and of the waits for them: what is left of
// a rank's time is its own work.
#pragma once
#include <memory>

#include "bench/fma_peak.h"
#include "parallel/communicator.h"

namespace elastron::bench {

class TimedCommunicator final : public parallel::Communicator {
 public:
  // `inner` must outlive it.
  explicit TimedCommunicator(parallel::Communicator& inner) : inner_(inner) {}

  double seconds() const { return seconds_; }  // of the calling thread, so far

  int rank() const override { return inner_.rank(); }
  int size() const override { return inner_.size(); }
  std::string_view axis() const override { return inner_.axis(); }
  parallel::Pending all_reduce(Tensor& t, parallel::ReduceOp op) override {
    return begun([&] { return inner_.all_reduce(t, op); });
  }
  parallel::Pending all_gather(const Tensor& in, Tensor& out) override {
    return begun([&] { return inner_.all_gather(in, out); });
  }
  parallel::Pending reduce_scatter(const Tensor& in, Tensor& out) override {
    return begun([&] { return inner_.reduce_scatter(in, out); });
  }
  parallel::Pending all_to_all(const Tensor& in, Tensor& out) override {
    return begun([&] { return inner_.all_to_all(in, out); });
  }
  parallel::Pending broadcast(Tensor& t, int root) override {
    return begun([&] { return inner_.broadcast(t, root); });
  }
  void barrier() override {
    timed([&] { inner_.barrier(); });
  }
  void all_reduce_host(std::span<double> values, parallel::ReduceOp op) override {
    timed([&] { inner_.all_reduce_host(values, op); });
  }
  void all_reduce_host(std::span<int64_t> values, parallel::ReduceOp op) override {
    timed([&] { inner_.all_reduce_host(values, op); });
  }
  std::vector<std::string> all_gather_host(const std::string& value) override {
    return inner_.all_gather_host(value);
  }
  std::string broadcast_host(const std::string& value, int root) override {
    return inner_.broadcast_host(value, root);
  }

 private:
  template <class Call>
  void timed(const Call& call) {
    const double start = thread_seconds();
    call();
    seconds_ += thread_seconds() - start;
  }
  template <class Call>
  parallel::Pending begun(const Call& call) {
    std::shared_ptr<parallel::Pending> pending;
    timed([&] { pending = std::make_shared<parallel::Pending>(call()); });
    if (pending->done()) return {};
    return parallel::Pending([this, pending] { timed([&] { pending->wait(); }); });
  }

  parallel::Communicator& inner_;
  double seconds_ = 0;
};

}  // namespace elastron::bench
