// Plans against steps on an emulated GPU: what these hold, and what they ask of the device.
#include <gtest/gtest.h>

#include <cstdlib>

#include "ops/kernel_families.h"
#include "router/attention_router.h"
#include "tests/support/cuda_emulator/blas.h"
#include "tests/train/plan/emulated_step.h"
#include "train/plan/full_attention_line.h"
#include "train/workload/registry.h"

namespace elastron::train {
namespace {

void expect_as_planned(const test::PlannedCase& c, const model::ModelConfig& m) {
  parallel::CollectiveLog log;
  parallel::Mesh mesh = parallel::Mesh::recording(c.layout, {}, log);
  cuda::CudaDevice device(0);
  test::expect_as_planned(c, m, mesh, device);
}

test::PlannedCase of(const char* name, model::Recompute recompute, DType dtype,
                     const auto& change) {
  return test::emulated_case(name, {1, 1, 1}, recompute, dtype, change);
}

TEST(PlannedStepOfAGpu, HoldsLaunchesCopiesAndWaitsAsAStepDoes) {
  using model::Recompute;
  model::ModelConfig m = test::small_shapes();
  m.num_layers = 2;
  const auto nothing = [](Config&) {};
  for (const test::PlannedCase& c :
       {of("routers", Recompute::none, DType::f32, nothing),
        of("routers, selective", Recompute::selective, DType::bf16, nothing),
        of("routers, layer", Recompute::layer, DType::bf16, nothing),
        of("routers beside FP8", Recompute::selective, DType::bf16,
           [](Config& c) { c.model.storage = WeightsKept::fp8; }),
        of("adapters beside FP8", Recompute::none, DType::f32,
           [](Config& c) {
             c.model.storage = WeightsKept::fp8;
             c.train.objective = kReward;
             c.train.trainable = {Part::reward_head, Part::lora};
           }),
        of("backbone", Recompute::none, DType::bf16,
           [](Config& c) { c.train.objective = kPretrain; }),
        of("pairs", Recompute::selective, DType::bf16, [](Config& c) {
          c.train.objective = kReward;
          c.train.trainable = {Part::reward_head, Part::lora, Part::router};
        })}) {
    expect_as_planned(c, m);
  }
}

// The host waits for nothing to know what tokens chose.
TEST(PlannedStepOfAGpu, WithExperts) {
  using model::Recompute;
  model::ModelConfig m = test::small_mixture();
  m.num_layers = 2;
  const auto nothing = [](Config&) {};
  for (const test::PlannedCase& c : {of("experts", Recompute::none, DType::bf16, nothing),
                                     of("experts, layer", Recompute::layer, DType::f32, nothing)}) {
    expect_as_planned(c, m);
  }
}

// A head of 64 columns goes to the kernels of sm_90a where the GPU and the build have them.
TEST(PlannedStepOfAGpu, TakesTheKernelsThatThereAre) {
  model::ModelConfig m = test::small_shapes();
  m.num_layers = 2;
  m.q_heads = 4;
  m.kv_heads = 2;
  m.head_dim = 64;
  expect_as_planned(of("hopper", model::Recompute::none, DType::bf16, [](Config&) {}), m);
  setenv("ELASTRON_EMULATED_BUILD_FOR_80", "1", 1);
  expect_as_planned(of("mma", model::Recompute::none, DType::bf16, [](Config&) {}), m);
  unsetenv("ELASTRON_EMULATED_BUILD_FOR_80");
}

// Forward with both outputs, recomputed with one, and backward.
TEST(PlannedStepOfAGpu, LibraryForFullAttention) {
  model::ModelConfig m = test::small_shapes();
  m.num_layers = 2;  // nothing is needed of q, k and v in the first
  const auto by_library = [](Config& config) {
    config.model.full_attention = ops::FullAttentionBy::cudnn;
  };
  for (const auto recompute : {model::Recompute::none, model::Recompute::layer}) {
    const auto c = of("library", recompute, DType::bf16, by_library);
    expect_as_planned(c, m);
    const auto with = plan_step(c.config, m, c.layout, DeviceKind::cuda, {}, test::kWithLibrary);
    const auto without = plan_step(c.config, m, c.layout, DeviceKind::cuda, {});
    EXPECT_GT(with.layer.copies, without.layer.copies);
    // As on sm_80.
    emulator::library_has_gradients() = false;
    expect_as_planned(c, m);
    emulator::library_has_gradients() = true;
  }
}

// Context ranks must decide the same gates: no product of a router is a library's, whose algorithms
// a rank times for itself.
TEST(RouterOfAGpu, AsksNoLibrary) {
  cuda::CudaDevice device(0);
  emulator::blas() = {};
  for (const auto dtype : {router::RouterDType::float32, router::RouterDType::bfloat16}) {
    router::RouterConfig config;
    config.dtype = dtype;
    constexpr int64_t kHeadDim = 16;
    const router::AttentionRouter router(0, kHeadDim, 1, config, DType::f32, 1, false, device);
    router.forward(Tensor::zeros({3, 2, kHeadDim}, DType::f32, device), nullptr);
  }
  EXPECT_EQ(emulator::blas().queries, 0);
  EXPECT_EQ(emulator::blas().products, 0);
}

// What the start says is what steps do: here of a GPU that has no backward pass of packed sequences.
TEST(FullAttentionLineOfAGpu, SaysWhatIsOurs) {
  const model::ModelConfig m = test::small_shapes();
  Config config = of("line", model::Recompute::none, DType::bf16, [](Config& c) {
                    c.model.full_attention = ops::FullAttentionBy::cudnn;
                  }).config;
  cuda::CudaDevice device(0);
  const auto line = [&](int context) {
    return full_attention_line(config, m, {1, context, 1}, device);
  };
  EXPECT_EQ(line(1), "by cuDNN's stand-in");
  EXPECT_EQ(line(2), "by cuDNN's stand-in") << "keys of all ranks";
  emulator::library_has_gradients() = false;
  const std::string partly =
      "forward by cuDNN's stand-in, backward by our own kernels (no gradients)";
  EXPECT_EQ(line(1), partly);
  EXPECT_EQ(line(2), partly);
  emulator::library_has_gradients() = true;
  device.attached<ops::ForbiddenKernels>().families.add(ops::KernelFamily::library_gradients);
  EXPECT_EQ(line(2),
            "forward by cuDNN's stand-in, backward by our own kernels (what it computes is "
            "wrong here)");
}

}  // namespace
}  // namespace elastron::train
