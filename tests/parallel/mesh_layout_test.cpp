#include "parallel/mesh_layout.h"

#include <gtest/gtest.h>

#include <set>

#include "core/error.h"
#include "parallel/mesh.h"

namespace elastron::parallel {
namespace {

TEST(MeshLayout, EveryLayoutUpTo64RanksIsABijectionWithTensorFastest) {
  for (int ranks = 1; ranks <= 64; ++ranks) {
    for (int tensor = 1; tensor <= ranks; ++tensor) {
      for (int context = 1; context * tensor <= ranks; ++context) {
        if (ranks % (context * tensor) != 0) continue;
        const MeshLayout layout = MeshLayout::resolve(ranks, 0, context, tensor);
        ASSERT_EQ(layout.ranks(), ranks);
        std::set<std::tuple<int, int, int>> seen;
        for (int rank = 0; rank < ranks; ++rank) {
          const MeshCoordinates c = layout.coordinates(rank);
          EXPECT_EQ(layout.rank(c), rank);
          EXPECT_TRUE(seen.insert({c.data, c.context, c.tensor}).second);
          if (c.tensor + 1 < tensor) {
            EXPECT_EQ(layout.rank({c.data, c.context, c.tensor + 1}), rank + 1);
          }
          if (c.context + 1 < context) {
            EXPECT_EQ(layout.rank({c.data, c.context + 1, c.tensor}), rank + tensor);
          }
        }
      }
    }
  }
}

TEST(MeshLayout, ExplicitSizesAreTakenAsTheyAre) {
  EXPECT_EQ(MeshLayout::resolve(12, 3, 2, 2), (MeshLayout{3, 2, 2}));
  EXPECT_EQ(MeshLayout::resolve(12, -1, 1, 4), (MeshLayout{3, 1, 4}));
}

std::string message_of(int ranks, int data, int context, int tensor) {
  try {
    MeshLayout::resolve(ranks, data, context, tensor);
  } catch (const UsageError& error) {
    EXPECT_EQ(error.kind(), ExitCode::usage);
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return "";
}

TEST(MeshLayout, ErrorsNameKeysAndWhatWouldWork) {
  EXPECT_EQ(message_of(6, 0, 1, 4),
            "6 ranks cannot be divided into groups of parallel.context=1 x parallel.tensor=4 "
            "(parallel.tensor, parallel.context): with parallel.context=1, parallel.tensor can be "
            "1, 2, 3 or 6, or start a multiple of 4 ranks");
  EXPECT_EQ(message_of(1, 0, 1, 2),
            "1 rank cannot be divided into groups of parallel.context=1 x parallel.tensor=2 "
            "(parallel.tensor, parallel.context): with parallel.context=1, parallel.tensor can be "
            "1, or start a multiple of 2 ranks");
  EXPECT_EQ(message_of(8, 0, 3, 1),
            "8 ranks cannot be divided into groups of parallel.context=3 x parallel.tensor=1 "
            "(parallel.tensor, parallel.context): their product can be 1, 2, 4 or 8, or start a "
            "multiple of 3 ranks");
  EXPECT_EQ(message_of(6, 2, 1, 2),
            "parallel.data=2 x parallel.context=1 x parallel.tensor=2 needs 4 ranks, but 6 were "
            "started (parallel.data, parallel.context, parallel.tensor): start 4 ranks, or set "
            "parallel.data=3 or auto");
  EXPECT_EQ(message_of(1, 1, 1, 2),
            "parallel.data=1 x parallel.context=1 x parallel.tensor=2 needs 2 ranks, but 1 was "
            "started (parallel.data, parallel.context, parallel.tensor): start 2 ranks, or choose "
            "sizes whose product is 1");
  EXPECT_EQ(message_of(4, 0, 1, 0),
            "parallel.tensor is 0 (parallel.tensor): give a size between 1 and 1048576");
  EXPECT_EQ(message_of(4, 0, -2, 1),
            "parallel.context is -2 (parallel.context): give a size between 1 and 1048576");
}

TEST(MeshLayout, SizesWhoseProductOverflowsAreAnErrorToo) {
  constexpr int kMost = 1 << 20, kInt = 2147483647;
  EXPECT_NE(message_of(4, 0, kMost, kMost).find("cannot be divided"), std::string::npos);
  EXPECT_NE(message_of(4, kMost, kMost, kMost).find("needs 1152921504606846976 ranks"),
            std::string::npos);
  for (const std::string& message :
       {message_of(4, kInt, 1, 1), message_of(4, 0, kInt, 1), message_of(4, 0, 1, kInt)}) {
    EXPECT_NE(message.find("is 2147483647"), std::string::npos) << message;
  }
}

TEST(Mesh, RecordingMeshKnowsEachAxis) {
  CollectiveLog log;
  const MeshLayout layout{.data = 3, .context = 2, .tensor = 4};
  const MeshCoordinates me{.data = 2, .context = 1, .tensor = 3};
  const Mesh mesh = Mesh::recording(layout, me, log);
  EXPECT_EQ(mesh.world().size(), 24);
  EXPECT_EQ(mesh.world().rank(), 23);
  EXPECT_EQ(mesh.data().size(), 3);
  EXPECT_EQ(mesh.data().rank(), 2);
  EXPECT_EQ(mesh.context().size(), 2);
  EXPECT_EQ(mesh.tensor().size(), 4);
  EXPECT_EQ(mesh.tensor().rank(), 3);
  EXPECT_EQ(mesh.grad().size(), 6);
  EXPECT_EQ(mesh.grad().rank(), 5);
}

}  // namespace
}  // namespace elastron::parallel
