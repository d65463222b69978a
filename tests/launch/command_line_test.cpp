// What is wrong with the command line or the limits of the process is said in one line.
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/launch/program.h"

namespace elastron::test {
namespace {

namespace fs = std::filesystem;

std::string training(const std::string& folder) {
  return "train " + std::string(ELASTRON_SOURCE_DIR) +
         "/tests/launch/router.yaml --set train.steps=1 --set model.path=" + tiny_backbone() +
         " --set output.dir=" + folder;
}

TEST(CommandLine, UnknownSubcommandsAreNamed) {
  for (const int ranks : {0, 2}) {
    const Outcome o = elastron(ranks, "trian configs/tiny/router.yaml");
    expect_error(o, 2,
                 {"error: there is no subcommand 'trian' (command line): did you mean train? "
                  "see elastron --help\n"});
  }
  expect_error(elastron(0, "eval_reward"), 2, {"did you mean eval-reward?"});
  const Outcome o = elastron(0, "frobnicate --help");
  expect_error(o, 2, {"there is no subcommand 'frobnicate' (command line): see elastron --help"});
  EXPECT_EQ(elastron(0, "--help").code, 0);
  EXPECT_EQ(elastron(0, "train --help").code, 0);
}

TEST(CommandLine, ResultsThatDoNotGetOutAreAFailure) {
  const std::string line = std::string(ELASTRON_PROGRAM) + " reference >/dev/full";
  EXPECT_EQ(WEXITSTATUS(std::system(for_shell(line).c_str())), 3);
}

TEST(Limits, FileSize) {
  const Scratch s;
  tiny_backbone();
  // Blocks of 512 bytes in sh.
  const Outcome text = elastron(0, "synthesize --out " + (s / "x.jsonl"), "ulimit -f 8;");
  expect_error(text, 3, {"File too large", s / ""});
  EXPECT_TRUE(fs::is_empty(s.path()));
  const std::string run = s / "run";
  expect_error(elastron(0, training(run), "ulimit -f 40;"), 4, {"File too large", run});
  EXPECT_FALSE(fs::exists(run + "/checkpoints/latest"));
}

TEST(Limits, OpenFiles) {
  const Scratch s;
  for (const std::string most : {"5", "20"}) {
    const std::string limit = "prlimit --nofile=" + most + ":" + most;
    const Outcome o = elastron(0, training(s / "run"), limit);
    expect_error(o, 2, {"error: only " + most + " files may be open (ulimit -n)"});
    EXPECT_EQ(o.err.find('\n'), o.err.size() - 1) << o.err;
  }
  // A soft limit is raised.
  const Outcome o = elastron(0, training(s / "run"), "ulimit -S -n 20;");
  EXPECT_EQ(o.code, 0) << o.err;
}

}  // namespace
}  // namespace elastron::test
