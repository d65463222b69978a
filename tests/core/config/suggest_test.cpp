#include "core/config/suggest.h"

#include <gtest/gtest.h>

#include <vector>

namespace elastron::config {
namespace {

TEST(Suggest, EditDistance) {
  EXPECT_EQ(edit_distance("", ""), 0);
  EXPECT_EQ(edit_distance("abc", ""), 3);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3);
  EXPECT_EQ(edit_distance("stpes", "steps"), 1);  // a swap is one slip
  EXPECT_EQ(edit_distance("flaw", "lawn"), 2);
}

TEST(Suggest, Nearest) {
  const std::vector<std::string> keys = {
      "train",  "train.steps",     "train.lr",        "train.warmup_ratio",
      "router", "router.ssa.sink", "router.ssa.local"};
  EXPECT_EQ(nearest("train.stpes", keys), "train.steps");
  EXPECT_EQ(nearest("train.step", keys), "train.steps");
  EXPECT_EQ(nearest("trian", keys), "train");
  EXPECT_EQ(nearest("trian.steps", keys), "train.steps");
  EXPECT_EQ(nearest("steps", keys), "train.steps");
  EXPECT_EQ(nearest("router.sink", keys), "router.ssa.sink");
  EXPECT_EQ(nearest("train.warmup_ration", keys), "train.warmup_ratio");
  EXPECT_EQ(nearest("optimizer.epsilon", keys), "");
  EXPECT_EQ(nearest(std::string(100000, 'x'), keys), "");
}

}  // namespace
}  // namespace elastron::config
