// The start-up check of a GPU's kernels, with faults planted in the emulated GPU
// (tests/support/cuda_emulator/faults.h): each is found, named and not used, and the run computes
// what the CPU does.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "tests/launch/program.h"

namespace elastron::test {
namespace {

namespace fs = std::filesystem;

const std::string kProgram = ELASTRON_EMULATED_PROGRAM;

std::string fault(const std::string& what) { return "ELASTRON_EMULATED_FAULT=" + what; }

// The warnings of the check, one a line.
std::vector<std::string> warnings(const Outcome& o) {
  std::vector<std::string> lines;
  std::istringstream in(o.err);
  for (std::string line; std::getline(in, line);) {
    const size_t at = line.find("warning: self-check: ");
    if (at != line.npos) lines.push_back(line.substr(at + 21));
  }
  return lines;
}

bool has(const Outcome& o, const std::string& text) { return o.err.find(text) != o.err.npos; }

// What lines of the log say that begin with "self-check: ".
std::vector<std::string> start_lines(const Outcome& o) {
  constexpr size_t kTime = 20;  // "2026-11-23 17:44:37 "
  const std::string begin = "self-check: ";
  std::vector<std::string> lines;
  std::istringstream in(o.err);
  for (std::string line; std::getline(in, line);) {
    if (line.compare(std::min(kTime, line.size()), begin.size(), begin) == 0) {
      lines.push_back(line.substr(kTime + begin.size()));
    }
  }
  return lines;
}

class SelfCheck : public ::testing::Test {
 protected:
  // Where this test's results are kept.
  std::string cache() const { return "XDG_CACHE_HOME=" + (scratch_ / "cache"); }
  std::vector<std::string> kept() const {
    std::vector<std::string> files;
    if (!fs::exists(scratch_ / "cache/elastron")) return files;
    for (const auto& entry : fs::directory_iterator(scratch_ / "cache/elastron")) {
      files.push_back(entry.path().string());
    }
    return files;
  }
  Outcome gpu(const std::string& arguments, const std::string& prefix = "", int ranks = 0,
              const std::string& program = kProgram) const {
    return run_program(program, ranks, arguments, cache() + " " + prefix);
  }

  // The tiny shapes with heads that Hopper's kernels take.
  const std::string& wide_heads() {
    static const Scratch scratch;
    static const std::string folder = [] {
      fs::copy(tiny_shapes(), scratch / "shapes");
      auto config = nlohmann::json::parse(read_text(scratch / "shapes/config.json"));
      config.update({{"head_dim", 64}, {"num_attention_heads", 4}, {"num_key_value_heads", 2}});
      write_text(scratch / "shapes/config.json", config.dump());
      return scratch / "shapes";
    }();
    return folder;
  }
  // Trains a backbone, some of whose documents have sparse heads.
  static std::string pretrain(const std::string& shapes, const std::string& dtype,
                              const std::string& folder, const std::string& more = "") {
    return std::string("train ") + ELASTRON_SOURCE_DIR + "/tests/launch/pretrain.yaml" +
           " --set model.path=" + shapes + " --set model.dtype=" + dtype +
           " --set output.dir=" + folder + " --set train.global_batch=2" +
           " --set data.synthetic.lengths=[64] --set train.steps=2 " + more;
  }
  static void expect_curve_of_the_cpu(const std::string& shapes, const std::string& dtype,
                                      const std::string& run, const std::string& what) {
    static std::map<std::string, std::map<int64_t, nlohmann::json>> golden;
    auto& wanted = golden[shapes + dtype];
    if (wanted.empty()) {
      const Scratch cpu;
      const Outcome o = elastron(0, pretrain(shapes, dtype, cpu.path(), "--set device=cpu"));
      ASSERT_EQ(o.code, 0) << o.err;
      wanted = metrics(cpu.path());
    }
    expect_same_curve(wanted, metrics(run), dtype == "bfloat16" ? 0.05 : 1e-4, what);
  }

  // With the fault, the run names the checks with these words, one warning each, and has the CPU's
  // curve.
  void expect_found(const std::string& planted, const std::string& shapes, const std::string& dtype,
                    const std::vector<std::string>& names, const std::string& how,
                    const std::string& more = "") {
    const Scratch run;
    const Outcome o = gpu(pretrain(shapes, dtype, run.path(), "--set device=cuda " + more),
                          fault(planted) + " ELASTRON_SELF_CHECK_SECONDS=60");
    ASSERT_EQ(o.code, 0) << planted << "\n" << o.err;
    const auto lines = warnings(o);
    EXPECT_EQ(lines.size(), names.size()) << planted << "\n" << o.err;
    for (const std::string& name : names) {
      const auto line = std::ranges::find_if(
          lines, [&](const std::string& text) { return text.starts_with(name); });
      ASSERT_NE(line, lines.end()) << planted << " " << name << "\n" << o.err;
      EXPECT_NE(line->find(how), line->npos) << *line;
    }
    EXPECT_TRUE(has(o, std::to_string(names.size()) + " not used")) << o.err;
    expect_curve_of_the_cpu(shapes, dtype, run.path(), planted);
  }

  const Scratch scratch_;
};

const std::vector<std::string> kMma = {"attention, forward, tensor cores (mma)",
                                       "attention, backward, tensor cores (mma)"};
const std::vector<std::string> kHopper = {"attention, forward, sm_90a kernels",
                                          "attention, backward, sm_90a kernels"};

// A tile whose product is lost; a copy that does not arrive, and masked scores that count. All kinds
// on both are in kernel_check_faults_test.
TEST_F(SelfCheck, FaultsOfKernels) {
  expect_found("mma:tile", tiny_shapes(), "bfloat16", kMma, "compute something else");
  fs::remove_all(scratch_ / "cache");
  // Forward they are right and used.
  expect_found("mma-gradients:mask", tiny_shapes(), "bfloat16", {kMma[1]},
               "compute something else");
  for (const char* what : {"hopper:stale", "hopper:mask"}) {
    fs::remove_all(scratch_ / "cache");
    expect_found(what, wide_heads(), "bfloat16", kHopper, "compute something else");
  }
}

// Without the check the fault is in the run: the curve is another.
TEST_F(SelfCheck, IsWhatKeepsTheCurve) {
  const Scratch cpu;
  ASSERT_EQ(
      elastron(0, pretrain(tiny_shapes(), "bfloat16", cpu.path(), "--set device.kind=cpu")).code,
      0);
  const double wanted = metrics(cpu.path()).at(1)["grad_norm"];
  for (const char* planted : {"mma:mask", "mma-gradients:mask"}) {
    const Scratch run;
    const Outcome o = gpu(pretrain(tiny_shapes(), "bfloat16", run.path(),
                                   "--set device=cuda --set device.self_check=off"),
                          fault(planted));
    ASSERT_EQ(o.code, 0) << o.err;
    EXPECT_FALSE(has(o, "self-check")) << o.err;
    const double found = metrics(run.path()).at(1)["grad_norm"];
    EXPECT_FALSE(std::abs(found - wanted) <= 0.05 * wanted) << planted;
    EXPECT_TRUE(kept().empty());
  }
}

// A kernel that never ends takes its process with it, not the run.
TEST_F(SelfCheck, Hangs) {
  const Scratch run;
  const Outcome o = gpu(pretrain(tiny_shapes(), "bfloat16", run.path(), "--set device=cuda"),
                        fault("mma:hang") + " ELASTRON_SELF_CHECK_SECONDS=20");
  ASSERT_EQ(o.code, 0) << o.err;
  const auto lines = warnings(o);
  ASSERT_EQ(lines.size(), kMma.size()) << o.err;
  for (size_t i = 0; i < lines.size(); ++i) {
    EXPECT_EQ(lines[i].find(kMma[i]), 0u) << lines[i];
    EXPECT_NE(lines[i].find("hang (it did not end in 20 s)"), lines[i].npos) << lines[i];
  }
  expect_curve_of_the_cpu(tiny_shapes(), "bfloat16", run.path(), "hang");
}

TEST_F(SelfCheck, FaultsOfLibraries) {
  expect_found("products:tile", tiny_shapes(), "float32", {"products by cuBLASLt, float32"},
               "compute something else");
  fs::remove_all(scratch_ / "cache");
  expect_found("library:tile", wide_heads(), "bfloat16", {"attention, forward, cuDNN's stand-in"},
               "compute something else", "--set model.full_attention=cudnn");
  fs::remove_all(scratch_ / "cache");
  expect_found("gradients:tile", wide_heads(), "bfloat16",
               {"attention, backward, cuDNN's stand-in"}, "compute something else",
               "--set model.full_attention=cudnn");
}

// Nothing stands in for plain kernels.
TEST_F(SelfCheck, WrongPlainKernelsEndTheRun) {
  const Scratch run;
  const std::string train = pretrain(tiny_shapes(), "float32", run.path(), "--set device=cuda");
  expect_error(gpu(train, fault("plain:tile")), 5,
               {"error: this GPU's results are wrong: plain kernels, float32", "device.self_check",
                "device: cpu"});
  // That is not kept: a GPU that computes rightly the next time may be used.
  const Outcome o = gpu(train);
  EXPECT_EQ(o.code, 0) << o.err;
  EXPECT_TRUE(has(o, "; all are used")) << o.err;
}

TEST_F(SelfCheck, ResultsAreKept) {
  const Scratch run;
  int turn = 0;
  const auto start = [&](const std::string& more = "", const std::string& prefix = "",
                         const std::string& program = kProgram) {
    const Outcome o = gpu(pretrain(tiny_shapes(), "float32", run / std::to_string(++turn),
                                   "--set device=cuda --set train.steps=1 " + more),
                          prefix, 0, program);
    EXPECT_EQ(o.code, 0) << o.err;
    return o;
  };
  Outcome o = start();
  EXPECT_TRUE(has(o, " checks of kernels made in ")) << o.err;
  EXPECT_FALSE(has(o, " known for this GPU")) << o.err;
  ASSERT_EQ(kept().size(), 1u);
  const std::string file = kept()[0], text = read_text(file);

  o = start();
  EXPECT_FALSE(has(o, " checks of kernels made in ")) << o.err;
  EXPECT_TRUE(has(o, " known for this GPU model, driver and build (" + file + "); all are used"))
      << o.err;
  o = start("--set device.self_check=full");
  EXPECT_TRUE(has(o, " checks of kernels made in ")) << o.err;
  EXPECT_FALSE(has(o, " known for this GPU")) << o.err;
  EXPECT_EQ(read_text(file), text);

  // Damage of every kind: as if there was nothing.
  std::string changed = text;
  changed.replace(changed.find("agrees"), 6, "failed");
  for (const std::string& damaged : {text.substr(0, text.size() / 2), std::string(), changed}) {
    write_text(file, damaged);
    o = start();
    EXPECT_TRUE(has(o, " checks of kernels made in ")) << o.err;
    EXPECT_TRUE(warnings(o).empty()) << o.err;
    EXPECT_EQ(read_text(file), text);
  }

  // Another build.
  fs::copy(kProgram, run / "rebuilt");
  std::ofstream(run / "rebuilt", std::ios::app) << "x";
  o = start("", "", run / "rebuilt");
  EXPECT_TRUE(has(o, " checks of kernels made in ")) << o.err;
  EXPECT_EQ(kept().size(), 2u);

  // Nowhere to keep them.
  write_text(run / "file", "");
  o = start("", "XDG_CACHE_HOME=" + (run / "file"));
  EXPECT_TRUE(has(o, "warning: the self-check will be made again at the next start: ")) << o.err;
  o = start("", "env -u HOME -u XDG_CACHE_HOME");
  EXPECT_TRUE(has(o, " checks of kernels made in ")) << o.err;
}

// What a rank finds holds on all; another use has checks of its own; generation takes part.
TEST_F(SelfCheck, OnSeveralRanksAndInGeneration) {
  const Scratch run;
  const Outcome o =
      gpu(pretrain(tiny_shapes(), "float32", run.path(),
                   "--set device=cuda --set parallel.tensor=2 --set model.full_attention=own"),
          fault("products:tile"), 2);
  ASSERT_EQ(o.code, 0) << o.err;
  EXPECT_EQ(warnings(o).size(), 1u) << o.err;
  expect_curve_of_the_cpu(tiny_shapes(), "float32", run.path(), "two ranks");

  const std::string generate = "generate --model " + tiny_backbone() +
                               " --dtype float32 --max-tokens 4 --prompt 'n7 k3 v9 n1'";
  const Outcome x = elastron(0, generate + " --set device=cpu");
  ASSERT_EQ(x.code, 0) << x.err;
  const Outcome y = gpu(generate + " --set device.self_check=full", fault("products:tile"));
  ASSERT_EQ(y.code, 0) << y.err;
  EXPECT_EQ(warnings(y).size(), 1u) << y.err;
  EXPECT_EQ(x.out, y.out);
}

// One line in the log, none among the results.
TEST_F(SelfCheck, EveryCommandSaysWhatWasChecked) {
  const Scratch out;
  const std::string folder = std::string(ELASTRON_SOURCE_DIR) + "/tests/launch/";
  const std::string model = " --set model.path=" + tiny_backbone(),
                    documents = folder + "router.yaml" + model +
                                " --set data.synthetic.lengths=[64]"
                                " --set data.synthetic.eval_per_kind=1",
                    rewards = folder + "reward.yaml" + model;
  const Outcome trained =
      elastron(0, "train " + rewards + " --set device=cpu --set output.dir=" + (out / "reward") +
                      " --set train.steps=1 --set train.global_batch=2" +
                      " --set reward.traces.lengths=[100]");
  ASSERT_EQ(trained.code, 0) << trained.err;
  write_text(out / "tokens.json", "[[1, 2, 3, 4]]");
  write_text(out / "rows.jsonl", R"({"prompt": "find the k1", "chosen": "v1 v2", "rejected": "v3"})"
                                 "\n");
  const std::string engine = " --dtype float32 --model " + tiny_backbone();
  for (const std::string& command :
       {"eval " + documents,
        "score-heads " + documents + " --needles all --out " + (out / "scores"),
        "eval-reward " + rewards + " --checkpoint " + (out / "reward") + " --data " +
            (out / "rows.jsonl") + " --out " + (out / "report"),
        "logits" + engine + " --tokens " + (out / "tokens.json") + " --out " + (out / "logits.h5"),
        "generate" + engine + " --max-tokens 2 --prompt 'n7 k3 v9 n1'"}) {
    const Outcome o = gpu(command + " --set device=cuda");
    ASSERT_EQ(o.code, 0) << command << "\n" << o.err;
    const auto lines = start_lines(o);
    ASSERT_EQ(lines.size(), 1u) << command << "\n" << o.err;
    EXPECT_TRUE(lines[0].ends_with("; all are used")) << lines[0];
    EXPECT_EQ(o.out.find("self-check"), o.out.npos) << command << "\n" << o.out;
  }
  // Nothing was checked, nothing is said.
  const Outcome o =
      gpu("generate" + engine + " --max-tokens 2 --prompt 'n7' --set device.self_check=off");
  ASSERT_EQ(o.code, 0) << o.err;
  EXPECT_FALSE(has(o, "self-check")) << o.err;
}

#ifdef ELASTRON_NCCL_STAND_IN
// Sums that are wrong on one rank, and a collective that never ends there: MPI carries them on all.
TEST_F(SelfCheck, FaultsOfNccl) {
  const std::string own_gpus =
      "ELASTRON_EMULATED_GPU_PER_RANK=1 ELASTRON_NCCL_LIBRARY=" ELASTRON_NCCL_STAND_IN;
  const auto start = [&](const std::string& fault, const std::string& folder,
                         const std::string& more = "") {
    return gpu(pretrain(tiny_shapes(), "float32", folder,
                        "--set device=cuda --set parallel.tensor=2 " + more),
               own_gpus + " ELASTRON_SELF_CHECK_SECONDS=20 ELASTRON_STAND_IN_FAULT=" + fault, 2);
  };
  for (const std::string kind : {"wrong", "hang"}) {
    const Scratch run;
    const Outcome o = start("1:all_reduce:1:" + kind, run.path());
    ASSERT_EQ(o.code, 0) << o.err;
    const auto lines = warnings(o);
    ASSERT_EQ(lines.size(), 1u) << o.err;
    EXPECT_EQ(lines[0].find("NCCL 2."), 0u) << lines[0];
    EXPECT_NE(lines[0].find(": tensor axis: all_reduce in float32"), lines[0].npos) << lines[0];
    EXPECT_EQ(lines[0].find("did not end in 20 s") != lines[0].npos, kind == "hang") << lines[0];
    EXPECT_TRUE(has(o, "collectives over MPI: NCCL's results are wrong here")) << o.err;
    expect_curve_of_the_cpu(tiny_shapes(), "float32", run.path(), kind);
  }
  const Scratch run;
  // Rank 0 has nothing to fail on; asked for, NCCL is an error.
  expect_error(start("1:all_reduce:1:wrong", run.path(), "--set parallel.communicator=nccl"), 2,
               {"error: NCCL cannot be used: its results are wrong: tensor axis: all_reduce"});
  const Outcome o = start("1:all_reduce:1000000:wrong", run.path());
  ASSERT_EQ(o.code, 0) << o.err;
  EXPECT_TRUE(has(o, " agrees with the host; all are used")) << o.err;
}
#endif

// A build for other GPUs on one of compute capability 9.0.
TEST_F(SelfCheck, ABuildWithoutTheFastKernelsSaysSo) {
  const Scratch run;
  const std::string train = pretrain(wide_heads(), "bfloat16", run.path(),
                                     "--set device=cuda --set device.self_check=off");
  const Outcome o = gpu(train, "ELASTRON_EMULATED_BUILD_FOR_80=1");
  ASSERT_EQ(o.code, 0) << o.err;
  EXPECT_TRUE(has(o, "warning: this build has no code for the fast attention kernels")) << o.err;
  EXPECT_TRUE(has(o, "attention by tensor cores (mma)")) << o.err;
}

}  // namespace
}  // namespace elastron::test
