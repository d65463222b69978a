// Collectives of GPU tensors over NCCL's interface: the GPU is the emulated one, NCCL a stand-in
// over shared memory (tests/support/nccl_stand_in.cpp).
#include "parallel/nccl.h"

#include "core/cuda/device.h"
#include "parallel/activity.h"
#include "tests/parallel/collective_checks.h"

namespace elastron::parallel {
namespace {

class Nccl : public WorldTest {
 protected:
  void SetUp() override {
    std::string why;
    backend = open_nccl(world, gpu, why);
    ASSERT_NE(backend, nullptr) << why;
    group = backend->over(world.split(0, world.rank(), "world"));
  }
  void TearDown() override {
    group.reset();
    backend.reset();
    WorldTest::TearDown();
  }

  cuda::CudaDevice gpu{0};
  std::unique_ptr<CollectiveBackend> backend;
  std::unique_ptr<Communicator> group;
};

TEST_F(Nccl, EveryOperationOnEveryDtype) { check_dtypes(*group, gpu); }

TEST_F(Nccl, TensorsOfTheHostGoOverMpi) { check_dtypes(*group, device); }

TEST_F(Nccl, SumsAreTheSameBitsOnEveryRankAndEveryTime) {
  check_sums_are_the_same_bits(*group, gpu);
}

TEST_F(Nccl, Bfloat16IsSummedInFloat32) { check_bfloat16_is_summed_in_float32(*group, gpu); }

TEST_F(Nccl, ThePendingKeepsItsBuffersAlive) { check_the_pending_keeps_its_buffers(*group, gpu); }

TEST_F(Nccl, GroupsOfOneStayAsTheyAre) {
  const auto alone = backend->over(world.split(world.rank(), 0, "alone"));
  EXPECT_NE(dynamic_cast<SelfCommunicator*>(alone.get()), nullptr);
}

// Every group has a communicator of its own, and operations of several may be under way at once.
TEST_F(Nccl, AllGroupsOfAMesh) {
  for (const MeshLayout& layout : all_layouts(world.size())) {
    const Mesh mesh(world, layout, backend.get());
    Tensor a = Tensor::from(std::vector<float>{1}, {1}, gpu), b = a.clone(), c = a.clone();
    Pending x = mesh.tensor().all_reduce(a, ReduceOp::sum);
    Pending y = mesh.grad().all_reduce(b, ReduceOp::sum);
    Pending z = mesh.world().all_reduce(c, ReduceOp::sum);
    z.wait();
    y.wait();
    x.wait();
    EXPECT_EQ(a.to_vector<float>()[0], float(layout.tensor));
    EXPECT_EQ(b.to_vector<float>()[0], float(layout.data * layout.context));
    EXPECT_EQ(c.to_vector<float>()[0], float(world.size()));
  }
}

// The watchdog compares the numbers of different ranks' collectives.
TEST_F(Nccl, CollectivesOfHostAndGpuAreCountedTogether) {
  Tensor t = Tensor::zeros({4}, DType::f32, gpu);
  group->all_reduce(t, ReduceOp::sum).wait();  // sets NCCL up, which counts too
  const int64_t before = world.activity().mine().collectives;
  group->all_reduce(t, ReduceOp::sum).wait();
  if (group->size() > 1) {
    EXPECT_EQ(world.activity().mine().collectives, before + 1);
    group->barrier();
    EXPECT_EQ(world.activity().mine().collectives, before + 2);
  }
}

}  // namespace
}  // namespace elastron::parallel
