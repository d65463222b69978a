// Plans of several ranks against steps on emulated GPUs, whose collectives go over NCCL's stand-in.
#include "parallel/nccl.h"
#include "parallel/world.h"
#include "tests/train/plan/emulated_step.h"

namespace elastron::train {
namespace {

using model::Recompute;
using test::emulated_case;

std::vector<test::PlannedCase> cases_of_context_ranks() {
  const parallel::MeshLayout layout{1, 2, 1};
  const auto nothing = [](Config&) {};
  return {
      emulated_case("float32", layout, Recompute::none, DType::f32, nothing),
      emulated_case("routers", layout, Recompute::none, DType::bf16, nothing),
      emulated_case("selective", layout, Recompute::selective, DType::bf16, nothing),
      emulated_case("layer", layout, Recompute::layer, DType::bf16, nothing),
      emulated_case("backbone", layout, Recompute::none, DType::bf16,
                    [](Config& c) { c.train.objective = kPretrain; }),
      emulated_case("exchanged heads", layout, Recompute::none, DType::bf16,
                    [](Config& c) { c.parallel.context_kind = ContextKind::ulysses; }),
  };
}

std::vector<test::PlannedCase> cases_of_tensor_ranks() {
  const parallel::MeshLayout layout{1, 1, 2};
  const auto split_rows = [](Config& c) { c.parallel.sequence = true; };
  const auto odd_rows = [](Config& c) {
    c.parallel.sequence = true;
    c.data.max_tokens = 125;
  };
  return {
      emulated_case("tensor", layout, Recompute::none, DType::bf16, [](Config&) {}),
      emulated_case("split rows", layout, Recompute::layer, DType::bf16, split_rows),
      emulated_case("rows that do not divide", layout, Recompute::none, DType::bf16, odd_rows),
  };
}

class PlannedRanks : public ::testing::Test {
 protected:
  void TearDown() override { world_.finalize(); }
  void expect_as_planned(const std::vector<test::PlannedCase>& cases) {
    model::ModelConfig m = test::small_shapes();
    m.num_layers = 2;
    for (const test::PlannedCase& c : cases) {
      cuda::CudaDevice device(0);
      std::string why;
      const auto backend = parallel::open_nccl(world_, device, why);
      ASSERT_NE(backend, nullptr) << why;
      parallel::Mesh mesh(world_, c.layout, backend.get());
      test::expect_as_planned(c, m, mesh, device);
    }
  }

  parallel::World world_;
};

TEST_F(PlannedRanks, ContextRanksAskForWhatIsPlanned) {
  expect_as_planned(cases_of_context_ranks());
}

TEST_F(PlannedRanks, TensorRanksAskForWhatIsPlanned) { expect_as_planned(cases_of_tensor_ranks()); }

}  // namespace
}  // namespace elastron::train
