// Plans that a library would have compiled, and what the batches of a bucket share: against the
// stand-in, whose plans check every length they are given.
#include <random>

#include "tests/ops/cuda/both_devices.h"
#include "tests/ops/routed_attention_problem.h"
#include "tests/support/cuda_emulator/memory.h"

namespace elastron::testing {
namespace {

class LibraryPlans : public test::BothDevices {
 protected:
  // Forward with one and with both outputs and backward; -> plans that had to be made.
  int64_t plans_of(const std::vector<int32_t>& cu, const std::vector<int32_t>& cu_keys = {}) {
    AttentionProblem p;
    p.q_heads = 4;
    p.kv_heads = 2;
    p.head_dim = 64;
    p.cu_seqlens = cu;
    p.cu_keys = cu_keys;
    p.rule = {16, 1, 2};
    p.scale = 0.125;
    std::mt19937 random(3);
    for (int64_t i = 0; i < p.sequences() * p.kv_heads; ++i) p.gate.push_back(random() % 2);
    fill_problem<bf16>(p, 1);
    const int64_t before = emulator::calls().plans;
    for (const ops::Branches branches : {ops::Branches::both, ops::Branches::selected}) {
      run_attention_on<bf16>(*gpu_, p, branches, true, ops::FullAttentionBy::cudnn,
                             ops::AttentionKernels::mma);
    }
    return emulator::calls().plans - before;
  }
};

TEST_F(LibraryPlans, PacksOfABucketShareThem) {
  EXPECT_EQ(plans_of({0, 100, 200, 310}), 3) << "both outputs, one, backward";
  EXPECT_EQ(plans_of({0, 90, 218, 219, 340}), 0) << "four sequences";
  EXPECT_EQ(plans_of({0, 128, 138, 257}), 0) << "other lengths";
  EXPECT_EQ(plans_of({0, 128, 138, 139, 148, 258}), 3) << "five sequences";
}

TEST_F(LibraryPlans, SoDoPartsOfSequences) {
  EXPECT_EQ(plans_of({0, 100, 200, 310}, {0, 150, 400, 510}), 3);
  EXPECT_EQ(plans_of({0, 120, 200, 320}, {0, 200, 290, 512}), 0);
  EXPECT_EQ(plans_of({0, 120, 200, 320}, {0, 300, 400, 700}), 3) << "more keys";
}

}  // namespace
}  // namespace elastron::testing
