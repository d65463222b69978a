// The pairs of key sets and the forms of SSA through the real program: one curve on any layout,
// whatever is recomputed, and after a stop; evaluation says what was visited.
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/launch/program.h"

namespace elastron::test {
namespace {

// Documents of three blocks, of which the rows of the third choose.
std::string arguments(const std::string& folder, const std::string& mode,
                      const std::string& more = "") {
  return "train " + std::string(ELASTRON_SOURCE_DIR) +
         "/tests/launch/router.yaml --set model.path=" + tiny_backbone() +
         " --set output.dir=" + folder +
         " --set train.steps=10 --set train.global_batch=4 --set data.synthetic.lengths=[180] "
         "--set data.max_tokens=256 --set router.xa.block=64 --set router.xa.stride=8 "
         "--set router.xa.threshold=0.6 --set router.topk.block=64 --set router.topk.blocks=2 "
         "--set router.topk.sink_blocks=0 " +
         mode + " " + more;
}

const std::string kModes[] = {"--set router.mode=fa-xa", "--set router.mode=xa-ssa",
                              // The last rows see everything, so that only the row tile before
                              // theirs can skip one.
                              "--set router.ssa.form=triangle --set router.ssa.last=20 "
                              "--set router.ssa.sink=0 --set data.synthetic.lengths=[250]",
                              "--set router.ssa.form=local --set router.ssa.local=40",
                              "--set router.mode=fa-topk", "--set router.mode=topk-ssa"};

TEST(Modes, OneCurveOnAnyLayoutAndWhateverIsRecomputed) {
  for (const std::string& mode : kModes) {
    SCOPED_TRACE(mode);
    const Scratch one;
    const auto first = elastron(0, arguments(one.path(), mode));
    ASSERT_EQ(first.code, 0) << first.err;
    const auto golden = metrics(one.path());
    ASSERT_EQ(golden.size(), 10u);
    // Heads do skip something.
    EXPECT_GT(golden.at(10)["esr_tiles"].get<double>(), 0.0);
    struct Other {
      int ranks;
      std::string more;
    };
    for (const Other& o :
         {Other{2, ""}, Other{2, "--set parallel.tensor=2"}, Other{4, "--set parallel.tensor=2"},
          Other{0, "--set train.recompute=none"}, Other{0, "--set train.recompute=layer"}}) {
      const Scratch other;
      const auto run = elastron(o.ranks, arguments(other.path(), mode, o.more));
      ASSERT_EQ(run.code, 0) << run.err;
      expect_same_curve(golden, metrics(other.path()), 1e-5,
                        std::to_string(o.ranks) + " ranks " + o.more);
    }
  }
}

TEST(Modes, ResumeIsExact) {
  for (const std::string mode : {"--set router.mode=xa-ssa", "--set router.mode=fa-topk"}) {
    const Scratch whole, parts;
    ASSERT_EQ(elastron(0, arguments(whole.path(), mode)).code, 0);
    const std::string every = "--set checkpoint.every=5 --set checkpoint.keep=9";
    ASSERT_EQ(elastron(0, arguments(parts.path(), mode, every)).code, 0);
    ASSERT_TRUE(std::filesystem::remove(parts.path() + "/checkpoints/step-00000010.h5"));
    const auto second = elastron(0, arguments(parts.path(), mode, every));
    ASSERT_EQ(second.code, 0) << second.err;
    EXPECT_NE(second.err.find("resumed from"), std::string::npos) << second.err;
    expect_same_curve(metrics(whole.path()), metrics(parts.path()), 0.0, "resumed");
  }
}

// A trained router of this mode, evaluated and asked for text: its settings come with the
// checkpoint, and a new token reads all keys, so that where as many blocks are read as there are
// the text is that of full attention.
TEST(Modes, TopBlocksAreEvaluatedAndDecoded) {
  const Scratch run;
  ASSERT_EQ(elastron(0, arguments(run.path(), "--set router.mode=fa-topk")).code, 0);
  const std::string eval = "eval " + run.path() +
                           "/config.yaml --set model.path=" + tiny_backbone() + " --checkpoint " +
                           run.path() + " --out " + (run / "eval.json") +
                           " --set data.synthetic.eval_per_kind=1 --set router.force=";
  const auto esr = [&](const std::string& force) {
    const auto o = elastron(0, eval + force);
    EXPECT_EQ(o.code, 0) << o.err;
    return nlohmann::json::parse(read_text(run / "eval.json"))["all"]["esr_tiles"].get<double>();
  };
  EXPECT_GT(esr("sparse"), 0.1);
  EXPECT_EQ(esr("full"), 0.0);
  const auto generate = [&](const std::string& more) {
    const auto o = elastron(0, "generate --model " + tiny_backbone() + " --prompt '" +
                                   std::string(400, 'a') + "' --ignore-eos --max-tokens 8 " +
                                   "--set router.mode=fa-topk --set router.topk.block=64 " + more);
    EXPECT_EQ(o.code, 0) << o.err;
    return o.out;
  };
  const std::string full = generate("--force full");
  EXPECT_EQ(generate("--force sparse --set router.topk.blocks=100"), full);
  const auto routed = elastron(0, "generate --model " + tiny_backbone() + " --router " +
                                      run.path() + " --prompt abc --ignore-eos --max-tokens 3");
  EXPECT_EQ(routed.code, 0) << routed.err;
}

TEST(Modes, OtherModesAreOtherCurves) {
  std::vector<double> losses;
  for (const std::string& mode : kModes) {
    const Scratch folder;
    ASSERT_EQ(elastron(0, arguments(folder.path(), mode, "--set train.steps=1")).code, 0);
    losses.push_back(metrics(folder.path()).at(1)["lm_loss"].get<double>());
  }
  for (size_t i = 0; i < losses.size(); ++i) {
    for (size_t j = 0; j < i; ++j) EXPECT_NE(losses[i], losses[j]) << i << " " << j;
  }
}

TEST(Modes, BadSettings) {
  const Scratch folder;
  for (const auto& [setting, key] :
       {std::pair{"--set router.mode=fa-fa", "router.mode"},
        std::pair{"--set router.xa.block=100", "router.xa.block"},
        std::pair{"--set router.xa.stride=24", "router.xa.block"},
        std::pair{"--set router.xa.threshold=1.5", "router.xa.threshold"},
        std::pair{"--set router.topk.block=100", "router.topk.block"},
        std::pair{"--set router.topk.blocks=0", "router.topk.blocks"},
        std::pair{"--set router.topk.sink_blocks=2", "router.topk.blocks"},
        std::pair{"--set router.mode=xa-topk", "router.mode"},
        std::pair{"--set router.ssa.form=topk", "router.ssa.form"}}) {
    const auto run = elastron(0, arguments(folder.path(), setting));
    EXPECT_EQ(run.code, 2) << setting;
    EXPECT_NE(run.err.find(key), std::string::npos) << run.err;
  }
}

}  // namespace
}  // namespace elastron::test
