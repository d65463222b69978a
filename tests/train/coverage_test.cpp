// Whether shards tile a logical tensor, for every way in which they may not.
#include "train/checkpoint/coverage.h"

#include <gtest/gtest.h>

#include <vector>

namespace elastron::train {
namespace {

using Parts = std::vector<Partition>;

Partition part(int dim, int64_t offset, int64_t size) {
  return {.dim = dim, .offset = offset, .size = size};
}

std::string fault(const Parts& parts, const Shape& logical = {6, 4}) {
  return tiling_fault(logical, parts);
}

TEST(Tiling, WholeTensors) {
  EXPECT_EQ(fault({Partition{}}), "");
  EXPECT_EQ(fault({Partition{}, Partition{}}), "");  // every rank holds all of it
  EXPECT_EQ(fault({part(0, 0, 6)}), "");
  EXPECT_EQ(fault({part(0, 0, 2), part(0, 2, 4)}), "");
  EXPECT_EQ(fault({part(1, 3, 1), part(1, 0, 3)}), "");  // in any order
  EXPECT_EQ(fault({part(0, 0, 6), part(0, 6, 0)}), "");  // a rank may have nothing
}

TEST(Tiling, Faults) {
  EXPECT_EQ(fault({}), "nobody holds it");
  EXPECT_EQ(fault({part(0, 1, 5)}), "rows from 0 are held by nobody");
  EXPECT_EQ(fault({part(0, 0, 2), part(0, 3, 3)}), "rows from 2 are held by nobody");
  EXPECT_EQ(fault({part(0, 0, 2), part(0, 2, 3)}), "rows from 5 are held by nobody");
  EXPECT_EQ(fault({part(0, 0, 4), part(0, 3, 3)}), "rows from 3 are held twice");
  EXPECT_EQ(fault({part(0, 0, 3), part(0, 0, 3), part(0, 3, 3)}), "rows from 0 are held twice");
  EXPECT_EQ(fault({part(0, 0, 3), part(0, 3, 4)}), "its parts reach beyond its end");
  EXPECT_EQ(fault({part(0, 0, 8), part(0, 8, -2)}), "a part has a negative size");
  EXPECT_EQ(fault({part(2, 0, 6)}), "it has no dim 2");
}

// One rank that holds all of it beside one that holds a part, or parts of different dims.
TEST(Tiling, WaysThatDiffer) {
  const std::string differ = "ranks split it in different ways";
  EXPECT_EQ(fault({part(0, 0, 3), part(1, 0, 4)}), differ);
  EXPECT_EQ(fault({Partition{}, part(0, 0, 6)}), differ);
  EXPECT_EQ(fault({part(0, 0, 6), Partition{}}), differ);
}

}  // namespace
}  // namespace elastron::train
