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
    const auto steps = metrics(run.path());
    expect_same_curve(golden(), steps, 1e-4, std::to_string(ranks) + more);
    // Of the emulated GPU's peak and time: only that they are there.
    EXPECT_GT(steps.at(2)["flops_done_fraction"].get<double>(), 0);
    EXPECT_GT(steps.at(2)["dense_equivalent_tflops"].get<double>(), 0);
    EXPECT_FALSE(golden().at(2).contains("flops_done_fraction"));
  }
}

// The modes that choose blocks, in documents of three blocks of which the rows of the third choose:
// the CPU's curve and its sparsity, with both outputs in one pass.
const std::string kBlocks =
    " --set data.synthetic.lengths=[180] --set data.max_tokens=256 --set router.xa.block=64 --set "
    "router.xa.stride=8 --set router.xa.threshold=0.6 --set router.topk.block=64 --set "
    "router.topk.blocks=2 --set router.topk.sink_blocks=0";

TEST_F(Cuda, ModesWithBlocks) {
  struct Run {
    std::string mode, layout;
    int ranks;
  };
  for (const Run& r :
       {Run{"fa-xa", " --set parallel.tensor=2", 2}, Run{"xa-ssa", "", 0}, Run{"fa-topk", "", 0}}) {
    const std::string more = kBlocks + " --set router.mode=" + r.mode;
    const Scratch cpu_run, gpu_run;
    ASSERT_EQ(elastron(0, train(cpu_run.path(), "cpu", more, 2)).code, 0);
    const Outcome o = gpu(r.ranks, train(gpu_run.path(), "cuda", more + r.layout, 2));
    ASSERT_EQ(o.code, 0) << o.err;
    const auto wanted = metrics(cpu_run.path()), found = metrics(gpu_run.path());
    expect_same_curve(wanted, found, 1e-4, r.mode);
    EXPECT_GT(wanted.at(2)["esr_tiles"].get<double>(), 0) << r.mode;
    for (const auto& [step, x] : wanted) {
      EXPECT_EQ(x["esr_tiles"].get<double>(), found.at(step)["esr_tiles"].get<double>()) << r.mode;
    }
  }
  // In bfloat16, on tensor cores, full attention by our kernels and by a library; gates may flip
  // where a logit is near zero: the first step.
  const std::string more = kBlocks + " --set router.mode=fa-xa --set model.dtype=bfloat16";
  const Scratch cpu_run;
  ASSERT_EQ(elastron(0, train(cpu_run.path(), "cpu", more, 1)).code, 0);
  const double wanted = metrics(cpu_run.path())[1]["lm_loss"];
  for (const std::string full : {"own", "cudnn"}) {
    const Scratch gpu_run;
    const Outcome o =
        gpu(0, train(gpu_run.path(), "cuda", more + " --set model.full_attention=" + full, 1));
    ASSERT_EQ(o.code, 0) << o.err;
    EXPECT_NEAR(metrics(gpu_run.path())[1]["lm_loss"].get<double>(), wanted, 0.01 * wanted) << full;
  }
}

#ifdef ELASTRON_NCCL_STAND_IN
// What goes before the program to give each rank a GPU of its own, and NCCL's stand-in.
const std::string kOwnGpus =
    "ELASTRON_EMULATED_GPU_PER_RANK=1 ELASTRON_NCCL_LIBRARY=" ELASTRON_NCCL_STAND_IN;

TEST_F(Cuda, CurveOverNccl) {
  for (const auto& [ranks, more] : {std::pair{2, ""},
                                    {2, "--set parallel.tensor=2"},
                                    {4, "--set parallel.tensor=2"},
                                    {2, "--set parallel.context=2"}}) {
    const Scratch run;
    const Outcome o =
        run_program(ELASTRON_EMULATED_PROGRAM, ranks, train(run.path(), "cuda", more), kOwnGpus);
    ASSERT_EQ(o.code, 0) << o.err;
    EXPECT_NE(o.err.find(" + NCCL 2."), std::string::npos) << o.err;
    expect_same_curve(golden(), metrics(run.path()), 1e-4, std::to_string(ranks) + more);
  }
}

TEST_F(Cuda, WhoTalksOverNccl) {
  const auto first_lines = [](const std::string& more, const std::string& prefix) {
    const Scratch run;
    return run_program(ELASTRON_EMULATED_PROGRAM, 2, train(run.path(), "cuda", more, 1), prefix);
  };
  // Ranks that share a GPU.
  const std::string stand_in = "ELASTRON_NCCL_LIBRARY=" ELASTRON_NCCL_STAND_IN;
  Outcome o = first_lines("", stand_in);
  EXPECT_EQ(o.code, 0);
  EXPECT_NE(o.err.find("collectives over MPI: ranks 0 and 1 share a GPU\n"), std::string::npos)
      << o.err;
  o = first_lines("--set parallel.communicator=nccl", stand_in);
  EXPECT_EQ(o.code, 2);
  EXPECT_EQ(o.err.find("error: NCCL cannot be used: ranks 0 and 1 share a GPU"), 0) << o.err;
  EXPECT_NE(o.err.find("parallel.communicator"), std::string::npos) << o.err;
  // No library: several GPUs are not left to crawl unasked.
  const std::string none = "ELASTRON_EMULATED_GPU_PER_RANK=1 ELASTRON_NCCL_LIBRARY=/none/nccl.so";
  o = first_lines("", none);
  expect_error(o, 2,
               {"error: 2 GPUs without NCCL: rank 0 has no NCCL (/none/nccl.so",
                "parallel.communicator", "or set this to mpi"});
  o = first_lines("--set parallel.communicator=mpi", none);
  EXPECT_EQ(o.code, 0) << o.err;
  o = first_lines("--set parallel.communicator=nccl", none);
  EXPECT_EQ(o.code, 2);
  EXPECT_EQ(o.err.find("error: NCCL cannot be used: rank 0 has no NCCL"), 0) << o.err;
  // As the user wants it.
  o = first_lines("--set parallel.communicator=mpi", kOwnGpus);
  EXPECT_EQ(o.code, 0);
  EXPECT_EQ(o.err.find("NCCL"), std::string::npos) << o.err;
  EXPECT_EQ(o.err.find("over MPI"), std::string::npos) << o.err;
  // The CPU has no use for it.
  const Scratch run;
  o = elastron(2, train(run.path(), "cpu", "--set parallel.communicator=nccl", 1));
  EXPECT_EQ(o.code, 2);
  EXPECT_EQ(o.err.find("error: NCCL cannot be used: this run is not on GPUs"), 0) << o.err;
}

// Which GPU a rank takes, by who shares one.
TEST_F(Cuda, GpusThatRanksSee) {
  const auto start = [](int ranks, const std::string& gpus, const std::string& visible) {
    const Scratch run;
    const std::string own =
        visible.empty() ? "" : "bash -c 'CUDA_VISIBLE_DEVICES=" + visible + " exec \"$0\" \"$@\"' ";
    return run_program(
        own + ELASTRON_EMULATED_PROGRAM, ranks,
        train(run.path(), "auto", "--set train.global_batch=" + std::to_string(ranks), 1),
        "ELASTRON_NCCL_LIBRARY=" ELASTRON_NCCL_STAND_IN " ELASTRON_EMULATED_GPUS=" + gpus);
  };
  const auto over_nccl = [](const Outcome& o) {
    return o.code == 0 && o.err.find(" + NCCL 2.") != std::string::npos;
  };
  Outcome o = start(2, "2", "");  // all see both
  EXPECT_TRUE(over_nccl(o)) << o.err;
  o = start(2, "4", "$((3 - OMPI_COMM_WORLD_RANK))");  // a scheduler gives each task one
  EXPECT_TRUE(over_nccl(o)) << o.err;
  EXPECT_NE(o.err.find("cuda:0 emulated GPU"), std::string::npos) << o.err;
  // Who has a choice leaves the only one to whoever has none.
  o = start(2, "2", "$([ $OMPI_COMM_WORLD_RANK = 0 ] && echo 0,1 || echo 0)");
  EXPECT_TRUE(over_nccl(o)) << o.err;
  o = start(2, "4", "2");  // the same one
  EXPECT_EQ(o.code, 0) << o.err;
  EXPECT_NE(o.err.find("collectives over MPI: ranks 0 and 1 share a GPU\n"), std::string::npos)
      << o.err;
  o = start(3, "4", "1,3");  // fewer than ranks
  expect_error(o, 2, {"2 GPUs without NCCL: ranks 0 and 2 share a GPU"});
  o = start(2, "2", "$((OMPI_COMM_WORLD_RANK * 7))");  // one is not there
  expect_error(o, 2, {"rank 1 sees no GPU (no GPU is visible), others do", "device"});
}

// The one line that starts with error:, or everything if there is not exactly one.
std::string error_line(const std::string& text) {
  const std::string start = "error: ";
  size_t at = text.starts_with(start) ? 0 : text.find("\n" + start);
  if (at == std::string::npos) return text;
  if (at > 0) ++at;
  const size_t end = text.find('\n', at);
  return text.find("\n" + start, end) == std::string::npos ? text.substr(at, end - at) : text;
}

// A call that fails, one that fails later, one that never ends: one line says on which rank, over
// which axis and in what, and all ranks end with exit code 6.
TEST_F(Cuda, FailuresOfNccl) {
  const auto fail = [](const std::string& kind) {
    const Scratch run;
    return run_program(
        ELASTRON_EMULATED_PROGRAM, 2,
        train(run.path(), "cuda",
              "--set parallel.tensor=2 --set parallel.sequence=false "
              "--set parallel.timeout_seconds=5"),
        kOwnGpus + " ELASTRON_STAND_IN_FAULT=1:all_reduce:20:" + kind + " timeout -s KILL 120");
  };
  Outcome o = fail("error");
  EXPECT_EQ(o.code, 6) << o.err;
  EXPECT_EQ(error_line(o.err).find("error: all_reduce failed: unhandled system error; the test "
                                   "asked for it (tensor axis, rank 1 of 2): run with NCCL_DEBUG"),
            0)
      << o.err;
  o = fail("async");
  EXPECT_EQ(o.code, 6) << o.err;
  EXPECT_EQ(error_line(o.err).find(
                "error: all_reduce failed: remote process exited (tensor axis, rank 1 of 2): run"),
            0)
      << o.err;
  o = fail("hang");
  EXPECT_EQ(o.code, 6) << o.err;
  const std::string line = error_line(o.err);
  EXPECT_EQ(line.find("error: no progress for "), 0) << o.err;
  EXPECT_NE(line.find(" in step "), std::string::npos) << o.err;
  EXPECT_NE(line.find("GPU waiting in all_reduce (tensor), collective "), std::string::npos)
      << o.err;
}
#endif

// Full attention by a library (its stand-in): bfloat16, every way to recompute, the curve of our
// own kernels within bfloat16's rounding; gates may flip where a logit is near zero, so only the
// first step is compared.
TEST_F(Cuda, FullAttentionByALibrary) {
  const auto first_step = [](const std::string& more) {
    const Scratch run;
    const Outcome o = gpu(0, train(run.path(), "cuda", "--set model.dtype=bfloat16 " + more, 1));
    EXPECT_EQ(o.code, 0) << o.err;
    const bool library = more.find("cudnn") != std::string::npos;
    EXPECT_EQ(o.err.find("full attention by cuDNN's stand-in") != std::string::npos, library)
        << o.err;
    auto steps = metrics(run.path());
    return std::pair{steps[1]["lm_loss"].get<double>(), steps[1]["grad_norm"].get<double>()};
  };
  const auto own = first_step("--set model.full_attention=own");
  for (const char* recompute : {"none", "selective", "layer"}) {
    const auto theirs = first_step("--set model.full_attention=cudnn --set train.recompute=" +
                                   std::string(recompute));
    EXPECT_NEAR(own.first, theirs.first, 0.01 * own.first) << recompute;
    EXPECT_NEAR(own.second, theirs.second, 0.05 * own.second) << recompute;
  }
  const Scratch run;
  const Outcome o = gpu(0, train(run.path(), "cuda", "--set model.full_attention=cudnn", 1));
  EXPECT_EQ(o.code, 2);
  EXPECT_EQ(o.err.find("error: cuDNN's attention is for bfloat16"), 0) << o.err;
}

// Head, adapters and routers on pairs whose prompts are computed once; then the reports.
TEST_F(Cuda, RewardModel) {
  const std::string config = std::string(ELASTRON_SOURCE_DIR) + "/tests/launch/reward.yaml";
  const std::string settings = config + " --set model.path=" + tiny_backbone() +
                               " --set train.trainable=[reward_head,lora,router]";
  const std::string steps =
      " --set train.steps=2 --set train.global_batch=2 --set reward.traces.lengths=[100]";
  const Scratch cpu_run, gpu_run;
  ASSERT_EQ(elastron(0, "train " + settings + steps +
                            " --set device=cpu --set output.dir=" + cpu_run.path())
                .code,
            0);
  Outcome o =
      gpu(0, "train " + settings + steps + " --set device=cuda --set output.dir=" + gpu_run.path());
  ASSERT_EQ(o.code, 0) << o.err;
  expect_same_curve(metrics(cpu_run.path()), metrics(gpu_run.path()), 1e-4, "reward");
  write_text(gpu_run / "rows.jsonl",
             R"({"prompt": "find the k1", "chosen": "v1 v2", "rejected": "v3"})"
             "\n");
  const std::string evaluate = "eval-reward " + settings + " --checkpoint " + gpu_run.path() +
                               " --data " + (gpu_run / "rows.jsonl") + " --out ";
  ASSERT_EQ(elastron(0, evaluate + (gpu_run / "on-cpu") + " --set device=cpu").code, 0);
  o = gpu(0, evaluate + (gpu_run / "on-gpu") + " --set device=cuda");
  ASSERT_EQ(o.code, 0) << o.err;
  const auto a = nlohmann::json::parse(read_text(gpu_run / "on-cpu/rows.jsonl"));
  const auto b = nlohmann::json::parse(read_text(gpu_run / "on-gpu/rows.jsonl"));
  EXPECT_NEAR(a["score_chosen"].get<double>(), b["score_chosen"].get<double>(), 1e-4);
  EXPECT_NEAR(a["score_rejected"].get<double>(), b["score_rejected"].get<double>(), 1e-4);
}

TEST_F(Cuda, RecomputationChangesNothing) {
  // The schedule is that of two steps.
  const Scratch cpu_run;
  ASSERT_EQ(elastron(0, train(cpu_run.path(), "cpu", "", 2)).code, 0);
  for (const char* mode : {"selective", "layer"}) {
    const Scratch run;
    const Outcome o =
        gpu(0, train(run.path(), "cuda", std::string("--set train.recompute=") + mode, 2));
    ASSERT_EQ(o.code, 0) << o.err;
    expect_same_curve(metrics(cpu_run.path()), metrics(run.path()), 1e-4, mode);
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

// Figures of an evaluation on the CPU and on the GPU, whose losses agree.
class CudaEvaluation : public Cuda {
 protected:
  void evaluate(const std::string& more = "") {
    const Scratch scratch;
    const std::string arguments = "eval" + train("/none", "auto", more).substr(5) + " --out ";
    ASSERT_EQ(elastron(0, arguments + (scratch / "cpu.json")).code, 0);
    const Outcome o = gpu(0, arguments + (scratch / "gpu.json"));
    ASSERT_EQ(o.code, 0) << o.err;
    cpu_ = nlohmann::json::parse(read_text(scratch / "cpu.json"));
    gpu_ = nlohmann::json::parse(read_text(scratch / "gpu.json"));
    EXPECT_EQ(cpu_["by_kind"].size(), 6u);
    for (const auto& [kind, x] : cpu_["by_kind"].items()) {
      EXPECT_NEAR(x["loss"].get<double>(), gpu_["by_kind"][kind]["loss"].get<double>(), 1e-3)
          << kind;
    }
  }
  nlohmann::json cpu_, gpu_;
};

TEST_F(CudaEvaluation, AndGeneration) {
  evaluate();
  const std::string generate = "generate --model " + tiny_backbone() +
                               " --dtype float32 --max-tokens 12 --prompt 'n7 k3 v9 n1'";
  const Outcome x = elastron(0, generate);
  ASSERT_EQ(x.code, 0) << x.err;
  const Outcome o = gpu(0, generate);
  ASSERT_EQ(o.code, 0) << o.err;
  EXPECT_EQ(x.out, o.out);
}

// Predictions and sparsity of a benchmark are the CPU's, whatever is decoded side by side.
TEST_F(Cuda, Benchmark) {
  const Scratch s;
  std::string rows;
  for (int i = 0; i < 2; ++i) {
    std::string text;
    for (int word = 0; word < 40 + 30 * i; ++word) {
      text += "n" + std::to_string((word * 7 + i) % 30) + " ";
    }
    rows +=
        nlohmann::json{
            {"index", i}, {"input", text + "secret v3 . n1 find the "}, {"outputs", {"v3"}}}
            .dump() +
        "\n";
  }
  s.write("data/vt/validation.jsonl", rows);
  const auto benchmark = [&](const std::string& out) {
    return "benchmark ruler --model " + std::string(ELASTRON_SOURCE_DIR) +
           "/configs/tiny/backbone --force random:0.5:3 --batch 2 --set router.ssa.sink=16"
           " --set router.ssa.local=32 --set router.ssa.block=16 --data " +
           (s / "data") + " --out " + (s / out);
  };
  ASSERT_EQ(elastron(0, benchmark("cpu")).code, 0);
  const Outcome o = gpu(0, benchmark("gpu"));
  ASSERT_EQ(o.code, 0) << o.err;
  EXPECT_NE(o.err.find("checks of kernels"), std::string::npos) << o.err;  // of a GPU
  EXPECT_EQ(read_text(s / "gpu/vt.jsonl"), read_text(s / "cpu/vt.jsonl"));
  const auto result = [&](const std::string& out) {
    return nlohmann::json::parse(
        read_text(s / (out + "/results.json")))["results"]["all"]["tasks"]["vt"];
  };
  for (const char* key : {"score", "msr", "esr", "cache_kept", "prompt_tokens", "new_tokens"}) {
    EXPECT_EQ(result("gpu")[key], result("cpu")[key]) << key;
  }
  EXPECT_GT(result("gpu")["msr"], 0.0);
}

TEST_F(CudaEvaluation, InAModeWithBlocks) {
  evaluate(kBlocks + " --set router.mode=fa-xa --set data.synthetic.eval_per_kind=1");
  EXPECT_FALSE(cpu_["esr_by_head"].is_null());
  EXPECT_EQ(cpu_["esr_by_head"], gpu_["esr_by_head"]);
}

}  // namespace
}  // namespace elastron::test
