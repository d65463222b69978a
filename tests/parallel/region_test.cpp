// Every pair of parallel/region.h as adjoints, in float64 on any group size, without a number
// computed by hand: dot(F x, y) == dot(x, F' y).
#include "parallel/region.h"

#include "tests/parallel/support.h"

namespace elastron::parallel {
namespace {

class Region : public WorldTest {
 protected:
  // The same on all ranks, or different on each.
  Tensor alike(const Shape& shape, uint64_t seed) {
    return random_tensor(shape, DType::f64, seed, device);
  }
  Tensor own(const Shape& shape, uint64_t seed) {
    return random_tensor(shape, DType::f64, seed * 1000 + uint64_t(world.rank()), device);
  }
  void expect_adjoint(double left, double right) {
    EXPECT_NEAR(left, right, 1e-12 * (1 + std::abs(left)));
  }
  const Mesh& mesh() {
    if (!mesh_) mesh_.emplace(world, MeshLayout{.data = 1, .context = 1, .tensor = world.size()});
    return *mesh_;
  }
  Communicator& group() { return mesh().tensor(); }

 private:
  std::optional<Mesh> mesh_;
};

TEST_F(Region, UsingATensorOnEveryRankIsAdjointToTheSum) {
  // F: alike -> a copy per rank (different cotangents); F': sum.
  const Tensor x = alike({3, 5}, 1), y = own({3, 5}, 2);
  Tensor sum = y.clone();
  sum_over_group(sum, group());
  expect_adjoint(sum_of(dot(x, y), group()), dot(x, sum));
  expect_same_bits(sum, group());
}

TEST_F(Region, TheSumOfPartsIsAdjointToNothing) {
  // F: parts -> sum (alike, counted once); F': the cotangent goes to every part.
  const Tensor x = own({4, 3}, 3), y = alike({4, 3}, 4);
  Tensor sum = x.clone();
  sum_over_group(sum, group());
  expect_adjoint(dot(sum, y), sum_of(dot(x, y), group()));
}

TEST_F(Region, OwnSliceIsAdjointToGatherSlices) {
  const int n = world.size();
  for (const auto& [dim, shape] : std::vector<std::pair<int, Shape>>{
           {0, {2 * n, 3}}, {1, {3, 2 * n}}, {-1, {2, 3, 4 * n}}, {0, {n}}}) {
    SCOPED_TRACE(shape.str());
    const Tensor x = alike(shape, 5);
    const Tensor slice = own_slice(x, dim, group());
    const Tensor y = own(slice.shape(), 6);
    const Tensor gathered = gather_slices(y, dim, group());
    expect_adjoint(sum_of(dot(slice, y), group()), dot(x, gathered));
    // And they are inverse to each other.
    EXPECT_EQ(gather_slices(slice, dim, group()).to_vector<double>(), x.to_vector<double>());
    EXPECT_EQ(own_slice(gathered, dim, group()).to_vector<double>(), y.to_vector<double>());
  }
}

TEST_F(Region, GatherPartsIsAdjointToReduceParts) {
  const int n = world.size();
  const Tensor x = own({2, 3}, 7);      // slices
  const Tensor y = own({2 * n, 3}, 8);  // every rank uses its copy otherwise
  expect_adjoint(sum_of(dot(gather_parts(x, group()), y), group()),
                 sum_of(dot(x, reduce_parts(y, group())), group()));
}

TEST_F(Region, WhatDoesNotDivideIsRefused) {
  if (world.size() == 1) GTEST_SKIP() << "everything divides by one";
  EXPECT_THROW(own_slice(alike({world.size() + 1, 2}, 1), 0, group()), LogicError);
  EXPECT_THROW(reduce_parts(alike({world.size() + 1, 2}, 1), group()), LogicError);
  EXPECT_THROW(own_slice(alike({2, world.size(), 2}, 1), 1, group()), LogicError);
}

// With rows split and not: F enters the linears, F' leaves them.
TEST_F(Region, EnteringTheLinearsIsAdjointToLeavingThem) {
  const int64_t rows = 3 * world.size();
  const TensorRegion split(group(), true), whole(group(), false);
  EXPECT_EQ(split.split(), world.size() > 1);
  const Tensor x = own({3, 4}, 11), y = own({rows, 4}, 12);
  expect_adjoint(sum_of(dot(split.enter(x), y), group()),
                 sum_of(dot(x, split.leave(y.clone())), group()));
  // Held alike, x counts once.
  const Tensor same = alike({rows, 4}, 13);
  expect_adjoint(sum_of(dot(whole.enter(same), y), group()), dot(same, whole.leave(y.clone())));
  // Rows of the sum are the sum's rows; own() and enter() are inverse to each other.
  const Tensor sum = whole.leave(y.clone());
  expect_close(split.leave(y.clone()), split.own(sum), 1e-15, "rows of the sum");
  EXPECT_EQ(split.enter(split.own(same)).to_vector<double>(), same.to_vector<double>());
}

}  // namespace
}  // namespace elastron::parallel
