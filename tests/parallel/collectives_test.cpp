// MpiCommunicator on any number of ranks: expectations come from the group size.
#include <mpi.h>

#include "parallel/mpi.h"
#include "tests/parallel/collective_checks.h"

namespace elastron::parallel {
namespace {

class Collectives : public WorldTest {};

TEST_F(Collectives, EveryOperationOnEveryDtype) {
  check_dtypes(*world.split(0, world.rank(), "world"), device);
}

// The limit that cuts collectives above 2^31 - 1 elements, lowered until 1000 elements are many
// pieces with a ragged last one, and until a piece is a single element.
TEST_F(Collectives, CutIntoPiecesTheResultIsTheSame) {
  for (const int64_t limit : {int64_t(1), int64_t(300), int64_t(1024)}) {
    SCOPED_TRACE(limit);
    World cut(WorldOptions{.max_bytes_per_call = limit});
    check_all<float>(*cut.split(0, cut.rank(), "world"), device, 211);
    check_all<bf16>(*cut.split(0, cut.rank(), "world"), device, 211);
    check_all<uint8_t>(*cut.split(0, cut.rank(), "world"), device, 211);
    cut.finalize();
  }
}

TEST_F(Collectives, HostValues) {
  const auto group = world.split(0, world.rank(), "world");
  const int n = group->size(), me = group->rank();
  std::vector<double> numbers = {double(me), -double(me)};
  group->all_reduce_host(std::span<double>(numbers), ReduceOp::max);
  EXPECT_EQ(numbers, (std::vector<double>{double(n - 1), 0}));
  std::vector<int64_t> counts = {int64_t(1) << 40, me};
  group->all_reduce_host(std::span<int64_t>(counts), ReduceOp::sum);
  EXPECT_EQ(counts, (std::vector<int64_t>{n * (int64_t(1) << 40), n * (n - 1) / 2}));

  const auto text = [](int rank) {
    return std::string(size_t(rank * 1000), char('a' + rank)) + std::string(1, '\0');
  };
  const auto all = group->all_gather_host(text(me));
  ASSERT_EQ(int(all.size()), n);
  for (int r = 0; r < n; ++r) EXPECT_EQ(all[size_t(r)], text(r));
  for (int r = 0; r < n; ++r) EXPECT_EQ(group->broadcast_host(text(me), r), text(r));
  group->barrier();
}

TEST_F(Collectives, SumsAreTheSameBitsOnEveryRankAndEveryTime) {
  check_sums_are_the_same_bits(*world.split(0, world.rank(), "world"), device);
}

TEST_F(Collectives, Bfloat16IsSummedInFloat32) {
  check_bfloat16_is_summed_in_float32(*world.split(0, world.rank(), "world"), device);
}

TEST_F(Collectives, ThePendingKeepsItsBuffersAlive) {
  check_the_pending_keeps_its_buffers(*world.split(0, world.rank(), "world"), device);
}

TEST_F(Collectives, AGroupsRanksFollowTheKey) {
  const auto reversed = world.split(0, world.size() - world.rank(), "reversed");
  EXPECT_EQ(reversed->rank(), world.size() - 1 - world.rank());
  EXPECT_EQ(reversed->axis(), "reversed");
  const auto alone = world.split(world.rank(), 0, "alone");
  EXPECT_EQ(alone->size(), 1);
  EXPECT_NE(dynamic_cast<SelfCommunicator*>(alone.get()), nullptr);
}

TEST_F(Collectives, AFailureCarriesMpisTextAxisAndRank) {
  // Pairs: in a larger group, a rank that fails would not pass the message on to others.
  const auto group = world.split(world.rank() / 2, world.rank(), "tensor");
  if (group->size() == 1) return;  // nothing can fail in a group of one
  // The root sends more than the others expect.
  const bool root = group->rank() == 0;
  Tensor t = Tensor::zeros({root ? 100 : 1}, DType::f32, device);
  if (root) {
    group->broadcast(t, 0).wait();
  } else {
    try {
      group->broadcast(t, 0).wait();
      FAIL() << "a truncated message passed";
    } catch (const CommunicationError& error) {
      EXPECT_EQ(error.kind(), ExitCode::communication);
      const std::string text = error.what();
      EXPECT_NE(text.find("broadcast failed: MPI_ERR_TRUNCATE"), std::string::npos) << text;
      EXPECT_NE(text.find("tensor axis, rank " + std::to_string(group->rank()) + " of " +
                          std::to_string(group->size())),
                std::string::npos)
          << text;
    }
  }
}

TEST_F(Collectives, TheMeshsGroupsAreThoseOfTheLayout) {
  for (const MeshLayout& layout : all_layouts(world.size())) {
    const Mesh mesh(world, layout);
    EXPECT_EQ(mesh.coordinates(), layout.coordinates(world.rank()));
    const auto members = [&](Communicator& axis) {
      std::vector<int> ranks;
      for (const std::string& r : axis.all_gather_host(std::to_string(world.rank()))) {
        ranks.push_back(std::stoi(r));
      }
      return ranks;
    };
    const auto expected = [&](auto same_group) {
      std::vector<int> ranks;
      for (int r = 0; r < layout.ranks(); ++r) {
        if (same_group(layout.coordinates(r), mesh.coordinates())) ranks.push_back(r);
      }
      return ranks;
    };
    using C = const MeshCoordinates&;
    EXPECT_EQ(members(mesh.tensor()),
              expected([](C a, C b) { return a.data == b.data && a.context == b.context; }));
    EXPECT_EQ(members(mesh.context()),
              expected([](C a, C b) { return a.data == b.data && a.tensor == b.tensor; }));
    EXPECT_EQ(members(mesh.data()),
              expected([](C a, C b) { return a.context == b.context && a.tensor == b.tensor; }));
    EXPECT_EQ(members(mesh.grad()), expected([](C a, C b) { return a.tensor == b.tensor; }));
    EXPECT_EQ(members(mesh.world()), expected([](C, C) { return true; }));
    EXPECT_EQ(mesh.tensor().rank(), mesh.coordinates().tensor);
    EXPECT_EQ(mesh.data().rank(), mesh.coordinates().data);
    EXPECT_EQ(mesh.context().rank(), mesh.coordinates().context);
  }
}

}  // namespace
}  // namespace elastron::parallel
