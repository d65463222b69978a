#include "train/step/schedule.h"

#include <gtest/gtest.h>

namespace elastron::train {
namespace {

// docs/method.md, Worked values, 7: router lr 5e-4 over 300 steps.
TEST(Schedule, PublishedValues) {
  const Schedule s = Schedule::make(ScheduleKind::cosine, 300, 0.2, 1e-7);
  EXPECT_EQ(s.warmup_steps, 60);
  EXPECT_EQ(s.multiplier(0), 0.0);
  EXPECT_DOUBLE_EQ(5e-4 * s.multiplier(30), 2.5e-4);
  EXPECT_DOUBLE_EQ(5e-4 * s.multiplier(60), 5e-4);
  EXPECT_NEAR(5e-4 * s.multiplier(180), 2.5e-4, 1e-10);
  EXPECT_NEAR(5e-4 * s.multiplier(240), 7.3223e-5, 1e-9);
  double sum = 0;
  for (int i = 0; i < 300; ++i) sum += s.multiplier(i);
  EXPECT_NEAR(sum, 150.0, 0.6);
}

// docs/method.md, Worked values of pairs, 11: lr 2e-6 over 100 steps, warm-up 5, floor 10 %.
TEST(Schedule, RewardValues) {
  const Schedule s = Schedule::make(ScheduleKind::cosine, 100, 0.05, 0.1);
  EXPECT_EQ(s.warmup_steps, 5);
  EXPECT_NEAR(2e-6 * s.multiplier(1), 4e-7, 1e-20);
  EXPECT_NEAR(2e-6 * s.multiplier(5), 2e-6, 1e-20);
  EXPECT_NEAR(2e-6 * s.multiplier(52), 1.114881e-6, 5e-13);
  EXPECT_NEAR(2e-6 * s.multiplier(100), 2e-7, 1e-20);
}

TEST(Schedule, EdgesStayDefined) {
  const Schedule all_warmup = Schedule::make(ScheduleKind::cosine, 10, 1.0, 0.0);
  EXPECT_DOUBLE_EQ(all_warmup.multiplier(9), 0.9);
  EXPECT_DOUBLE_EQ(all_warmup.multiplier(10), 1.0);
  const Schedule none = Schedule::make(ScheduleKind::cosine, 10, 0.0, 0.1);
  EXPECT_DOUBLE_EQ(none.multiplier(0), 1.0);
  EXPECT_DOUBLE_EQ(none.multiplier(10), 0.1);
  EXPECT_DOUBLE_EQ(none.multiplier(1000), 0.1);
  EXPECT_DOUBLE_EQ(Schedule::make(ScheduleKind::constant, 10, 0.5, 0.1).multiplier(9), 1.0);
}

}  // namespace
}  // namespace elastron::train
