// How even the load of experts is, by hand.
#include "train/step/expert_loads.h"

#include <gtest/gtest.h>

#include <cmath>

namespace elastron::train {
namespace {

TEST(ExpertLoads, AreMeansOverLayers) {
  parallel::SelfCommunicator self("data");
  ExpertLoads loads;
  EXPECT_FALSE(loads.balance(self));
  // Two micro batches: 4, 0, 2 and 1, 1, 1 rows; 3, 3, 3 and 3, 3, 3.
  loads.add(0, std::vector<int32_t>{0, 4, 4, 6});
  loads.add(1, std::vector<int32_t>{0, 3, 6, 9});
  loads.add(0, std::vector<int32_t>{0, 1, 2, 3});
  loads.add(1, std::vector<int32_t>{0, 3, 6, 9});
  const auto balance = loads.balance(self);
  ASSERT_TRUE(balance);
  EXPECT_DOUBLE_EQ(balance->max, (5.0 / 3 + 1) / 2);
  EXPECT_DOUBLE_EQ(balance->variation, std::sqrt((4.0 + 4.0 + 0.0) / 3) / 3 / 2);
  // Rows that do not count.
  loads.take_out(0, std::vector<int32_t>{0, 0, 2});
  EXPECT_DOUBLE_EQ(loads.balance(self)->max, (3.0 / 2 + 1) / 2);
}

}  // namespace
}  // namespace elastron::train
