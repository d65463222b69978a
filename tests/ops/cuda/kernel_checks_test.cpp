// The checks of a GPU's kernels find nothing where the kernels are right, for every use.
#include "ops/self_check/kernel_checks.h"

#include <algorithm>

#include "tests/ops/cuda/kernel_uses.h"

namespace elastron::test {
namespace {

class KernelChecks : public BothDevices {
 protected:
  void expect_nothing(const ops::KernelUse& use) {
    for (const ops::KernelCheck& check : ops::kernel_checks(use, *gpu_)) {
      EXPECT_EQ(check.run(*gpu_), "") << check.name;
    }
  }
  std::vector<std::string> names(const ops::KernelUse& use) {
    std::vector<std::string> list;
    for (const auto& check : ops::kernel_checks(use, *gpu_)) list.push_back(check.name);
    return list;
  }
};

TEST_F(KernelChecks, AgreeInTraining) {
  expect_nothing(training(DType::f32, 20, 2, {}));
  expect_nothing(training(DType::bf16, 64, 2, {}));
}

TEST_F(KernelChecks, AgreeWhereBlocksAreChosen) {
  for (const ops::HeadPattern& pattern : patterns_with_blocks()) {
    expect_nothing(training(DType::bf16, 64, 2, pattern));
  }
}

TEST_F(KernelChecks, AgreeInInference) {
  ops::KernelUse use = training(DType::bf16, 80, 3, {});
  use.trains = false;
  expect_nothing(use);
}

TEST_F(KernelChecks, AgreeWithExperts) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    ops::KernelUse use = training(dtype, 64, 2, {});
    use.experts = true;
    int checked = 0;
    for (const ops::KernelCheck& check : ops::kernel_checks(use, *gpu_)) {
      if (!check.name.starts_with("experts")) continue;
      EXPECT_EQ(check.run(*gpu_), "") << check.name;
      ++checked;
    }
    EXPECT_EQ(checked, dtype == DType::bf16 ? 2 : 1) << "plain kernels, and tensor cores";
  }
}

// A check for each family that the GPU has for the use, each name once.
TEST_F(KernelChecks, AreThoseOfTheUse) {
  const auto count = [](const std::vector<std::string>& list, const std::string& text) {
    return std::ranges::count_if(
        list, [&](const std::string& name) { return name.find(text) != name.npos; });
  };
  ops::KernelUse use = training(DType::f32, 64, 2, {});
  auto list = names(use);
  EXPECT_EQ(count(list, "products"), 2);
  EXPECT_EQ(count(list, "attention, "), 2) << "plain kernels, forward and backward";
  EXPECT_EQ(count(list, "decoding"), 0);
  EXPECT_EQ(count(list, "experts"), 0);
  use.dtype = DType::bf16;
  list = names(use);
  EXPECT_EQ(count(list, "products"), 5) << "routers are in float32, which is not timed";
  EXPECT_EQ(count(list, "tensor cores (mma)"), 2);
  EXPECT_EQ(count(list, "choice of blocks"), 0);
  use.trains = false;
  list = names(use);
  EXPECT_EQ(count(list, "backward"), 0);
  EXPECT_EQ(count(list, "optimiser"), 0);
  EXPECT_EQ(count(list, "decoding"), 1);
  use.pattern = patterns_with_blocks()[0];
  list = names(use);
  EXPECT_EQ(count(list, "choice of blocks"), 2);
  std::ranges::sort(list);
  EXPECT_EQ(std::ranges::adjacent_find(list), list.end());
  EXPECT_TRUE(ops::kernel_checks(use, cpu_).empty());
}

}  // namespace
}  // namespace elastron::test
