// The collectives of a plan against those that the ranks of a real run make.
#include <gtest/gtest.h>

#include <map>

#include "core/trace.h"
#include "parallel/collective_backend.h"
#include "parallel/world.h"
#include "tests/train/plan/planned_cases.h"
#include "train/plan/planned_step.h"

namespace elastron::train {
namespace {

// Writes down each call as RecordingCommunicator does, and has it done.
class LoggingCommunicator final : public parallel::Communicator {
 public:
  LoggingCommunicator(std::unique_ptr<parallel::Communicator> inner, parallel::CollectiveLog& log)
      : inner_(std::move(inner)), log_(log) {}

  int rank() const override { return inner_->rank(); }
  int size() const override { return inner_->size(); }
  std::string_view axis() const override { return inner_->axis(); }
  parallel::Pending all_reduce(Tensor& t, parallel::ReduceOp op) override {
    note("all_reduce", t.bytes());
    return inner_->all_reduce(t, op);
  }
  parallel::Pending all_gather(const Tensor& in, Tensor& out) override {
    note("all_gather", out.bytes());
    return inner_->all_gather(in, out);
  }
  parallel::Pending reduce_scatter(const Tensor& in, Tensor& out) override {
    note("reduce_scatter", in.bytes());
    return inner_->reduce_scatter(in, out);
  }
  parallel::Pending all_to_all(const Tensor& in, Tensor& out) override {
    note("all_to_all", in.bytes());
    return inner_->all_to_all(in, out);
  }
  parallel::Pending broadcast(Tensor& t, int root) override {
    note("broadcast", t.bytes());
    return inner_->broadcast(t, root);
  }
  void barrier() override {
    note("barrier", 0, true);
    inner_->barrier();
  }
  void all_reduce_host(std::span<double> values, parallel::ReduceOp op) override {
    note("all_reduce", values.size_bytes(), true);
    inner_->all_reduce_host(values, op);
  }
  void all_reduce_host(std::span<int64_t> values, parallel::ReduceOp op) override {
    note("all_reduce", values.size_bytes(), true);
    inner_->all_reduce_host(values, op);
  }
  std::vector<std::string> all_gather_host(const std::string& value) override {
    note("all_gather", value.size() * size_t(size()), true);
    return inner_->all_gather_host(value);
  }
  std::string broadcast_host(const std::string& value, int root) override {
    note("broadcast", value.size(), true);
    return inner_->broadcast_host(value, root);
  }

 private:
  void note(const char* operation, size_t bytes, bool host = false) {
    if (size() == 1) return;
    log_.push_back({operation, std::string(axis()), int64_t(bytes), host, trace_path()});
  }

  std::unique_ptr<parallel::Communicator> inner_;
  parallel::CollectiveLog& log_;
};

class Logging final : public parallel::CollectiveBackend {
 public:
  explicit Logging(parallel::CollectiveLog& log) : log_(log) {}
  std::unique_ptr<parallel::Communicator> over(
      std::unique_ptr<parallel::Communicator> host) override {
    return std::make_unique<LoggingCommunicator>(std::move(host), log_);
  }
  std::string library() const override { return "MPI, written down"; }
  void abandon() override {}

 private:
  parallel::CollectiveLog& log_;
};

struct Sum {
  int64_t bytes = 0, calls = 0;
  bool operator==(const Sum&) const = default;
};
std::ostream& operator<<(std::ostream& out, const Sum& s) {
  return out << s.bytes << " bytes in " << s.calls << " calls";
}
using Sums = std::map<std::string, Sum>;  // by axis, operation and use

void add(const std::vector<PlannedCollective>& list, Sums& sums) {
  for (const PlannedCollective& c : list) {
    Sum& sum = sums[c.axis + ", " + c.operation + ", " + c.what];
    sum.bytes += c.bytes;
    sum.calls += c.calls;
  }
}

// All of them, to the byte: the small sums of figures as well as the rows.
TEST(PlannedCollectives, AreThoseThatTheRanksMake) {
  const model::ModelConfig m = test::small_shapes();
  parallel::World world;
  const auto cases = test::planned_cases(world.size());
  EXPECT_FALSE(cases.empty());
  for (const test::PlannedCase& c : cases) {
    parallel::CollectiveLog log;
    Sums made, planned;
    {
      Logging backend(log);
      parallel::Mesh mesh(world, c.layout, &backend);
      CpuDevice device;
      test::RealStep step(c.config, m, mesh, device);
      step.run();
      log.clear();
      EXPECT_FALSE(step.run().skipped) << c.name;
    }
    if (world.rank() != 0) continue;
    add(sorted_collectives(log), made);
    const PlannedStep plan = plan_step(c.config, m, c.layout, DeviceKind::cpu, {});
    add(plan.micro_batch, planned);
    add(plan.update, planned);
    for (const auto& [what, sum] : made) EXPECT_EQ(planned[what], sum) << c.name << ": " << what;
    for (const auto& [what, sum] : planned) EXPECT_EQ(made[what], sum) << c.name << ": " << what;
    EXPECT_TRUE(world.size() == 1 || !made.empty()) << c.name;
  }
  world.finalize();
}

}  // namespace
}  // namespace elastron::train
