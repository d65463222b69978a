// MpiCommunicator on any number of ranks: expectations come from the group size.
#include <mpi.h>

#include "parallel/mpi.h"
#include "tests/parallel/support.h"

namespace elastron::parallel {
namespace {

class Collectives : public WorldTest {};

// Rank r's value at element i, exact in every type and under summation.
double element(int rank, int64_t i) { return double((rank + 1) * 3 + (i * 7) % 11 - 5); }

template <class T>
std::vector<T> rank_values(int rank, int64_t count) {
  std::vector<T> values;
  for (int64_t i = 0; i < count; ++i) {
    if constexpr (std::is_same_v<T, bf16>) {
      values.push_back(T(float(element(rank, i))));
    } else {
      values.push_back(T(element(rank, i)));
    }
  }
  return values;
}

template <class T>
void check_all(World& world, Communicator& group, Device& device, int64_t count) {
  SCOPED_TRACE(std::string(dtype_name(dtype_of<T>)) + " x " + std::to_string(count));
  const int n = group.size(), me = group.rank();
  const Tensor mine = Tensor::from(rank_values<T>(me, count), {count}, device);
  const auto number = [](T value) { return double(value); };

  if constexpr (!std::is_same_v<T, uint8_t>) {
    Tensor sum = mine.clone(), max = mine.clone(), min = mine.clone();
    {
      Pending first = group.all_reduce(sum, ReduceOp::sum);
      Pending second = group.all_reduce(max, ReduceOp::max);
      group.all_reduce(min, ReduceOp::min).wait();  // out of order on purpose
      second.wait();
      first.wait();
    }
    for (int64_t i = 0; i < count; ++i) {
      double expected = 0;
      for (int r = 0; r < n; ++r) expected += element(r, i);
      ASSERT_EQ(number(sum.to_vector<T>()[size_t(i)]), expected) << i;
      ASSERT_EQ(number(max.to_vector<T>()[size_t(i)]), element(n - 1, i)) << i;
      ASSERT_EQ(number(min.to_vector<T>()[size_t(i)]), element(0, i)) << i;
    }
    std::vector<T> parts;
    for (int r = 0; r < n; ++r) {
      for (int64_t i = 0; i < count; ++i) {
        const double value = element(me, i) + r;
        if constexpr (std::is_same_v<T, bf16>) {
          parts.push_back(T(float(value)));
        } else {
          parts.push_back(T(value));
        }
      }
    }
    Tensor out = Tensor::zeros({count}, dtype_of<T>, device);
    group.reduce_scatter(Tensor::from(parts, {n * count}, device), out).wait();
    const auto scattered = out.to_vector<T>();
    for (int64_t i = 0; i < count; ++i) {
      double expected = 0;
      for (int r = 0; r < n; ++r) expected += element(r, i) + me;
      ASSERT_EQ(number(scattered[size_t(i)]), expected) << i;
    }
  }

  Tensor all = Tensor::zeros({n * count}, dtype_of<T>, device);
  group.all_gather(mine, all).wait();
  std::vector<T> expected;
  for (int r = 0; r < n; ++r) {
    const auto part = rank_values<T>(r, count);
    expected.insert(expected.end(), part.begin(), part.end());
  }
  EXPECT_TRUE(holds(all, expected)) << "all_gather";

  // In place: this rank's part already lies in the output.
  Tensor in_place = Tensor::zeros({n * count}, dtype_of<T>, device);
  Tensor part = in_place.slice(0, me * count, (me + 1) * count);
  part.copy_from(mine);
  group.all_gather(part, in_place).wait();
  EXPECT_TRUE(holds(in_place, expected)) << "in place";

  // What rank r sends to rank s is element(r + s): the exchange is symmetric in r and s.
  std::vector<T> send;
  for (int s = 0; s < n; ++s) {
    const auto to = rank_values<T>(me + 2 * s, count);
    send.insert(send.end(), to.begin(), to.end());
  }
  Tensor received = Tensor::zeros({n * count}, dtype_of<T>, device);
  group.all_to_all(Tensor::from(send, {n * count}, device), received).wait();
  expected.clear();
  for (int r = 0; r < n; ++r) {
    const auto from = rank_values<T>(r + 2 * me, count);
    expected.insert(expected.end(), from.begin(), from.end());
  }
  EXPECT_TRUE(holds(received, expected)) << "all_to_all";

  for (int root = 0; root < n; ++root) {
    Tensor t = mine.clone();
    group.broadcast(t, root).wait();
    const auto wanted = rank_values<T>(root, count);
    EXPECT_TRUE(holds(t, wanted)) << "broadcast " << root;
  }
  EXPECT_EQ(world.size(), n);
}

template <class T>
void check_dtype(World& world, Communicator& group, Device& device) {
  for (const int64_t count : {0, 1, 7, 1000}) check_all<T>(world, group, device, count);
}

void check_dtypes(World& world, Device& device) {
  const auto group = world.split(0, world.rank(), "world");
  check_dtype<double>(world, *group, device);
  check_dtype<float>(world, *group, device);
  check_dtype<bf16>(world, *group, device);
  check_dtype<int64_t>(world, *group, device);
  check_dtype<int32_t>(world, *group, device);
  check_dtype<uint8_t>(world, *group, device);
}

TEST_F(Collectives, EveryOperationOnEveryDtype) { check_dtypes(world, device); }

// The limit that cuts collectives above 2^31 - 1 elements, lowered until 1000 elements are many
// pieces with a ragged last one, and until a piece is a single element.
TEST_F(Collectives, CutIntoPiecesTheResultIsTheSame) {
  for (const int64_t limit : {int64_t(1), int64_t(300), int64_t(1024)}) {
    SCOPED_TRACE(limit);
    World cut(WorldOptions{.max_bytes_per_call = limit});
    check_all<float>(cut, *cut.split(0, cut.rank(), "world"), device, 211);
    check_all<bf16>(cut, *cut.split(0, cut.rank(), "world"), device, 211);
    check_all<uint8_t>(cut, *cut.split(0, cut.rank(), "world"), device, 211);
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

// Sizes on both sides of the library's switches between algorithms.
TEST_F(Collectives, SumsAreTheSameBitsOnEveryRankAndEveryTime) {
  const auto group = world.split(0, world.rank(), "world");
  for (const DType dtype : {DType::f32, DType::f64, DType::bf16}) {
    for (const int64_t count : {1, 3, 64, 1000, 5003, 70001, 1 << 20}) {
      SCOPED_TRACE(std::string(dtype_name(dtype)) + " x " + std::to_string(count));
      const Tensor mine = random_tensor({count}, dtype, uint64_t(1000 + world.rank()), device);
      Tensor first = mine.clone();
      group->all_reduce(first, ReduceOp::sum).wait();
      expect_same_bits(first, *group);
      for (int repeat = 0; repeat < 3; ++repeat) {
        Tensor again = mine.clone();
        group->all_reduce(again, ReduceOp::sum).wait();
        EXPECT_EQ(std::memcmp(first.raw(), again.raw(), first.bytes()), 0);
      }
    }
  }
}

TEST_F(Collectives, Bfloat16IsSummedInFloat32) {
  const auto group = world.split(0, world.rank(), "world");
  // 256 + 1 is not a bfloat16: adding in bfloat16 would lose every 1.
  const float value = world.rank() == 0 ? 256.0f : 1.0f;
  Tensor t = Tensor::from(std::vector<bf16>{bf16(value)}, {1}, device);
  group->all_reduce(t, ReduceOp::sum).wait();
  EXPECT_EQ(t.to_vector<bf16>()[0].bits, bf16(256.0f + float(world.size() - 1)).bits);
}

TEST_F(Collectives, ThePendingKeepsItsBuffersAlive) {
  const auto group = world.split(0, world.rank(), "world");
  Tensor all = Tensor::zeros({world.size() * 100000}, DType::f32, device);
  const auto start = [&] {
    const Tensor mine = random_tensor({100000}, DType::f32, uint64_t(world.rank()), device);
    return group->all_gather(mine, all);
  };
  Pending pending = start();
  // Had the input gone back to the allocator, this would be it.
  const Tensor reuse = Tensor::zeros({100000}, DType::f32, device);
  pending.wait();
  for (int r = 0; r < world.size(); ++r) {
    const Tensor expected = random_tensor({100000}, DType::f32, uint64_t(r), device);
    EXPECT_EQ(all.slice(0, r * 100000, (r + 1) * 100000).to_vector<float>(),
              expected.to_vector<float>());
  }
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
