// Faults that are planted in the emulated kernels are found by the check of their family, and by no
// other.
#include "ops/self_check/kernel_checks.h"
#include "tests/ops/cuda/kernel_uses.h"
#include "tests/support/cuda_emulator/faults.h"

namespace elastron::test {
namespace {

using Family = ops::KernelFamily;

class KernelCheckFaults : public BothDevices {
 protected:
  ~KernelCheckFaults() override { emulator::plant(""); }

  // The families whose checks find something, of those with the word in their name; plain kernels
  // must not be among them.
  std::vector<Family> found(const std::string& fault, const std::string& word,
                            const ops::KernelUse& use) {
    emulator::plant(fault);
    std::vector<Family> families;
    for (const ops::KernelCheck& check : ops::kernel_checks(use, *gpu_)) {
      if (check.name.find(word) == check.name.npos) continue;
      const std::string difference = check.run(*gpu_);
      if (difference.empty()) continue;
      EXPECT_TRUE(check.family.has_value()) << fault << " " << check.name << " " << difference;
      if (check.family) families.push_back(*check.family);
    }
    return families;
  }
};

TEST_F(KernelCheckFaults, OfTensorCores) {
  const ops::KernelUse use = training(DType::bf16, 16, 2, {});
  const std::vector both = {Family::mma_forward, Family::mma_gradients};
  for (const char* fault : {"mma:mask", "mma:tile", "mma:stale"}) {
    EXPECT_EQ(found(fault, "attention, ", use), both) << fault;
  }
  EXPECT_EQ(found("mma-gradients:mask", "attention, ", use), std::vector{Family::mma_gradients});
}

TEST_F(KernelCheckFaults, OfHopperKernels) {
  const ops::KernelUse use = training(DType::bf16, 64, 2, {});
  for (const char* fault : {"hopper:mask", "hopper:tile", "hopper:stale"}) {
    EXPECT_EQ(found(fault, "attention, ", use),
              (std::vector{Family::hopper_forward, Family::hopper_gradients}))
        << fault;
  }
}

TEST_F(KernelCheckFaults, OfBlockScores) {
  ops::KernelUse use = training(DType::bf16, 72, 2, patterns_with_blocks()[0]);
  use.trains = false;
  EXPECT_EQ(found("mma:tile", "blocks", use), std::vector{Family::mma_scores});
}

TEST_F(KernelCheckFaults, OfProductsOfGroups) {
  ops::KernelUse use = training(DType::bf16, 64, 2, {});
  use.experts = true;
  for (const char* fault : {"mma:tile", "mma:stale"}) {
    EXPECT_EQ(found(fault, "experts", use), std::vector{Family::mma_groups}) << fault;
  }
}

TEST_F(KernelCheckFaults, OfLibraries) {
  ops::KernelUse use = training(DType::bf16, 64, 2, {});
  EXPECT_EQ(
      found("products:tile", "products", use),
      (std::vector{Family::library_products, Family::tuned_products, Family::library_products}));
  use.full_by = ops::FullAttentionBy::cudnn;
  EXPECT_EQ(found("library:tile", "attention, ", use), std::vector{Family::library_forward});
  EXPECT_EQ(found("gradients:tile", "attention, ", use), std::vector{Family::library_gradients});
}

// The plain kernels are held against the CPU.
TEST_F(KernelCheckFaults, OfPlainKernels) {
  emulator::plant("plain:tile");
  const auto checks = ops::kernel_checks(training(DType::f32, 20, 2, {}), *gpu_);
  ASSERT_FALSE(checks.empty());
  EXPECT_FALSE(checks[0].family.has_value());
  EXPECT_NE(checks[0].run(*gpu_), "");
}

}  // namespace
}  // namespace elastron::test
