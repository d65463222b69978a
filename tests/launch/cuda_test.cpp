// Router training on a GPU, against the CPU: the curve, several ranks, checkpoints that go from one
// device to the other, inference. The GPU is an emulated one (tests/support/cuda_emulator), whose
// memory the host cannot read: whatever touched it in passing would crash here.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "tests/launch/program.h"

namespace elastron::test {
namespace {

namespace fs = std::filesystem;

class Cuda : public ::testing::Test {
 protected:
  static Outcome gpu(int ranks, const std::string& arguments) {
    return run_program(ELASTRON_EMULATED_PROGRAM, ranks, arguments);
  }
  static std::string train(const std::string& folder, const std::string& device,
                           const std::string& more = "", int steps = 4) {
    return std::string("train ") + ELASTRON_SOURCE_DIR + "/tests/launch/router.yaml" +
           " --set model.path=" + tiny_backbone() + " --set output.dir=" + folder +
           " --set device=" + device + " --set train.global_batch=2" +
           " --set data.synthetic.lengths=[64] --set train.schedule=constant" +
           " --set train.warmup_ratio=0 --set train.steps=" + std::to_string(steps) + " " + more;
  }
  static std::map<int64_t, nlohmann::json> golden() {
    static const std::map<int64_t, nlohmann::json> curve = [] {
      const Scratch run;
      const Outcome o = elastron(0, train(run.path(), "cpu"));
      EXPECT_EQ(o.code, 0) << o.err;
      return metrics(run.path());
    }();
    return curve;
  }
};

TEST_F(Cuda, CurveIsThatOfTheCpuOnAnyLayout) {
  for (const auto& [ranks, more] : {std::pair{0, ""}, {2, ""}, {2, "--set parallel.tensor=2"}}) {
    const Scratch run;
    const Outcome o = gpu(ranks, train(run.path(), "cuda", more));
    ASSERT_EQ(o.code, 0) << o.err;
    EXPECT_NE(o.err.find("cuda:0 emulated GPU"), std::string::npos) << o.err;
    expect_same_curve(golden(), metrics(run.path()), 1e-4, std::to_string(ranks) + more);
  }
}

TEST_F(Cuda, RecomputationChangesNothing) {
  for (const char* mode : {"selective", "layer"}) {
    const Scratch run;
    const Outcome o =
        gpu(0, train(run.path(), "cuda", std::string("--set train.recompute=") + mode, 2));
    ASSERT_EQ(o.code, 0) << o.err;
    auto wanted = golden();
    wanted.erase(wanted.upper_bound(2), wanted.end());
    expect_same_curve(wanted, metrics(run.path()), 1e-4, mode);
  }
}

TEST_F(Cuda, CheckpointsGoFromOneDeviceToTheOther) {
  for (const bool gpu_first : {true, false}) {
    const Scratch run;
    const auto on = [&](bool there) {
      const std::string more = "--set checkpoint.every=2 --set checkpoint.keep=9";
      return there ? gpu(0, train(run.path(), "cuda", more))
                   : elastron(0, train(run.path(), "cpu", more));
    };
    Outcome o = on(gpu_first);
    ASSERT_EQ(o.code, 0) << o.err;
    fs::remove(run / "checkpoints/step-00000004.h5");
    o = on(!gpu_first);
    ASSERT_EQ(o.code, 0) << o.err;
    EXPECT_NE(o.err.find("at step 2"), std::string::npos) << o.err;
    expect_same_curve(golden(), metrics(run.path()), 1e-4, gpu_first ? "GPU first" : "CPU first");
  }
}

// Gates may flip where a logit is near zero, so only the first step is compared.
TEST_F(Cuda, Bfloat16) {
  const Scratch cpu_run, gpu_run;
  const std::string more = "--set model.dtype=bfloat16";
  ASSERT_EQ(elastron(0, train(cpu_run.path(), "cpu", more, 1)).code, 0);
  const Outcome o = gpu(0, train(gpu_run.path(), "cuda", more, 1));
  ASSERT_EQ(o.code, 0) << o.err;
  const double a = metrics(cpu_run.path())[1]["lm_loss"], b = metrics(gpu_run.path())[1]["lm_loss"];
  EXPECT_NEAR(a, b, 0.01 * a);
}

TEST_F(Cuda, EvaluationAndGeneration) {
  const Scratch scratch;
  const std::string arguments = "eval" + train("/none", "auto").substr(5) + " --out ";
  ASSERT_EQ(elastron(0, arguments + (scratch / "cpu.json")).code, 0);
  Outcome o = gpu(0, arguments + (scratch / "gpu.json"));
  ASSERT_EQ(o.code, 0) << o.err;
  const auto a = nlohmann::json::parse(read_text(scratch / "cpu.json"));
  const auto b = nlohmann::json::parse(read_text(scratch / "gpu.json"));
  EXPECT_EQ(a["by_kind"].size(), 6u);
  for (const auto& [kind, x] : a["by_kind"].items()) {
    EXPECT_NEAR(x["loss"].get<double>(), b["by_kind"][kind]["loss"].get<double>(), 1e-3) << kind;
  }

  const std::string generate = "generate --model " + tiny_backbone() +
                               " --dtype float32 --max-tokens 12 --prompt 'n7 k3 v9 n1'";
  const Outcome x = elastron(0, generate);
  ASSERT_EQ(x.code, 0) << x.err;
  o = gpu(0, generate);
  ASSERT_EQ(o.code, 0) << o.err;
  EXPECT_EQ(x.out, o.out);
}

}  // namespace
}  // namespace elastron::test
