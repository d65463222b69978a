// The communicators that need no ranks, and Pending.
#include "parallel/communicator.h"

#include <gtest/gtest.h>

#include "core/meta_device.h"
#include "parallel/recording.h"
#include "tests/parallel/support.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#endif

namespace elastron::parallel {
namespace {

// While it lives, what is given up on purpose is not reported as a leak.
struct GivenUpOnPurpose {
#ifdef __SANITIZE_ADDRESS__
  GivenUpOnPurpose() { __lsan_disable(); }
  ~GivenUpOnPurpose() { __lsan_enable(); }
#endif
};

TEST(Pending, WaitRunsOnceAndRethrows) {
  int runs = 0;
  Pending pending([&runs] { ++runs; });
  EXPECT_FALSE(pending.done());
  Pending moved = std::move(pending);
  moved.wait();
  moved.wait();
  EXPECT_EQ(runs, 1);
  EXPECT_TRUE(moved.done());

  Pending failing([] { throw CommunicationError("x", "y", "z"); });
  EXPECT_THROW(failing.wait(), CommunicationError);
}

TEST(PendingDeathTest, DroppedWithoutWaitTerminates) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH({ Pending dropped([] {}); }, "never waited for");
}

TEST(Pending, DroppedByAnExceptionKeepsTheBuffersAndLetsItPass) {
  [[maybe_unused]] const GivenUpOnPurpose given_up;
  auto buffer = std::make_shared<int>(1);
  const std::weak_ptr<int> watched = buffer;
  try {
    Pending dropped([kept = std::move(buffer)] { (void)kept; });
    throw CommunicationError("another collective failed", "here", "go");
  } catch (const CommunicationError&) {
  }
  EXPECT_FALSE(watched.expired());
}

TEST(SelfCommunicator, GivesBackWhatItGets) {
  CpuDevice device;
  SelfCommunicator self("tensor");
  const Tensor in = random_tensor({3, 2}, DType::f32, 1, device);
  Tensor out = Tensor::zeros({3, 2}, DType::f32, device);
  self.all_gather(in, out).wait();
  EXPECT_EQ(out.to_vector<float>(), in.to_vector<float>());
  out.zero();
  self.reduce_scatter(in, out).wait();
  EXPECT_EQ(out.to_vector<float>(), in.to_vector<float>());
  out.zero();
  self.all_to_all(in, out).wait();
  EXPECT_EQ(out.to_vector<float>(), in.to_vector<float>());
  self.all_reduce(out, ReduceOp::max).wait();
  self.broadcast(out, 0).wait();
  EXPECT_EQ(out.to_vector<float>(), in.to_vector<float>());
  EXPECT_EQ(self.all_gather_host("x"), std::vector<std::string>{"x"});
  Tensor wrong = Tensor::zeros({4, 2}, DType::f32, device);
  EXPECT_THROW(self.all_gather(in, wrong).wait(), LogicError);
}

TEST(RecordingCommunicator, WritesDownOperationAxisAndBytesAndMovesNothing) {
  CpuDevice device;
  CollectiveLog log;
  RecordingCommunicator tensor("tensor", 1, 4, log);
  Tensor x = random_tensor({2, 3}, DType::bf16, 1, device);
  const auto before = x.to_vector<bf16>();
  tensor.all_reduce(x, ReduceOp::sum).wait();
  Tensor all = Tensor::zeros({8, 3}, DType::bf16, device);
  tensor.all_gather(x, all).wait();
  tensor.reduce_scatter(all, x).wait();
  Tensor other = Tensor::zeros({8, 3}, DType::bf16, device);
  tensor.all_to_all(all, other).wait();
  tensor.broadcast(x, 3).wait();
  tensor.barrier();
  double number = 5;
  tensor.all_reduce_host(std::span<double>(&number, 1), ReduceOp::sum);
  EXPECT_EQ(tensor.all_gather_host("ab").size(), 4u);
  EXPECT_EQ(tensor.broadcast_host("abc", 2), "abc");
  const CollectiveLog expected = {
      {"all_reduce", "tensor", 12},      {"all_gather", "tensor", 48},
      {"reduce_scatter", "tensor", 48},  {"all_to_all", "tensor", 48},
      {"broadcast", "tensor", 12},       {"barrier", "tensor", 0, true},
      {"all_reduce", "tensor", 8, true}, {"all_gather", "tensor", 8, true},
      {"broadcast", "tensor", 3, true}};
  EXPECT_EQ(log, expected);
  EXPECT_EQ(number, 5);
  EXPECT_EQ(std::memcmp(before.data(), x.raw(), x.bytes()), 0);
}

// As NCCL's communicator does, which planned_ranks_cuda_test holds it against.
TEST(RecordingCommunicator, SumsOfBfloat16TakeOfAGpuWhatTheyTake) {
  MetaDevice gpu(DeviceKind::cuda);
  CollectiveLog log;
  RecordingCommunicator context("context", 1, 4, log);
  Tensor even = Tensor::empty({1024}, DType::bf16, gpu),
         odd = Tensor::empty({1023}, DType::bf16, gpu);
  Tensor single = Tensor::empty({1024}, DType::f32, gpu);
  struct Taken {
    int64_t launches = 0, copies = 0, bytes = 0;
    bool operator==(const Taken&) const = default;
  };
  const auto of = [&](auto&& start) {
    gpu.clear_records();
    gpu.reset_peak();
    const int64_t before = gpu.memory().in_use_bytes;
    start().wait();
    EXPECT_EQ(gpu.memory().in_use_bytes, before);
    const RangeRecord& all = gpu.ranges()[0];
    return Taken{.launches = all.ops.empty() ? 0 : all.ops[0].sum.launches,
                 .copies = all.copies,
                 .bytes = gpu.memory().peak_bytes - before};
  };
  const auto reduce = [&](Tensor& t, ReduceOp op) {
    return of([&] { return context.all_reduce(t, op); });
  };
  EXPECT_EQ(reduce(even, ReduceOp::sum), (Taken{1, 0, 2048}));
  EXPECT_EQ(reduce(odd, ReduceOp::sum),
            (Taken{1, 3, 2 * 2048}));  // padded: cleared, there and back
  EXPECT_EQ(reduce(even, ReduceOp::max), Taken{});
  EXPECT_EQ(reduce(single, ReduceOp::sum), Taken{});
  Tensor part = Tensor::empty({256}, DType::bf16, gpu);
  EXPECT_EQ(of([&] { return context.reduce_scatter(even, part); }), (Taken{1, 0, 2048}));
}

TEST(RecordingCommunicator, ChecksShapesLikeARealOne) {
  CpuDevice device;
  CollectiveLog log;
  RecordingCommunicator data("data", 0, 3, log);
  Tensor five = Tensor::zeros({5}, DType::f32, device);
  Tensor ten = Tensor::zeros({10}, DType::f32, device);
  Tensor bytes = Tensor::zeros({5}, DType::u8, device);
  Tensor column = Tensor::zeros({4, 4}, DType::f32, device).slice(1, 0, 2);
  EXPECT_THROW(data.all_gather(five, ten).wait(), LogicError);
  EXPECT_THROW(data.reduce_scatter(ten, five).wait(), LogicError);
  EXPECT_THROW(data.all_to_all(five, five).wait(), LogicError);
  EXPECT_THROW(data.broadcast(five, 3).wait(), LogicError);
  EXPECT_THROW(data.all_reduce(bytes, ReduceOp::sum).wait(), LogicError);
  EXPECT_THROW(data.all_reduce(column, ReduceOp::sum).wait(), LogicError);
  EXPECT_TRUE(log.empty());
}

}  // namespace
}  // namespace elastron::parallel
