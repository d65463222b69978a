// A run killed at any moment, a disk call that fails at any place, a file damaged anywhere:
// `latest` names a whole checkpoint, and going on from there is as if nothing had happened. Slow
// storage, and storage that hangs.
#include <gtest/gtest.h>

#include <cerrno>
#include <filesystem>
#include <random>

#include "tests/launch/program.h"

namespace elastron::test {
namespace {

namespace fs = std::filesystem;

std::string arguments(const std::string& folder, int steps) {
  return "train " + std::string(ELASTRON_SOURCE_DIR) + "/tests/launch/router.yaml" +
         " --set model.path=" + tiny_backbone() + " --set output.dir=" + folder +
         " --set train.steps=" + std::to_string(steps) +
         " --set train.schedule=constant --set train.warmup_ratio=0 --set checkpoint.every=1";
}

// Temporary files of a writer that is gone.
std::vector<std::string> leftovers(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder + "/checkpoints")) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with('.')) names.push_back(name);
  }
  return names;
}

TEST(Killed, AtAnyMoment) {
  const int kSteps = 150;
  const Scratch whole, killed;
  ASSERT_EQ(elastron(0, arguments(whole.path(), kSteps)).code, 0);
  std::mt19937 random(7);
  int kills = 0, inside = 0;
  for (int round = 0; round < 40; ++round) {
    const int milliseconds = int(150 + random() % 400);
    const Outcome o = elastron(0, arguments(killed.path(), kSteps),
                               "timeout -s KILL " + std::to_string(double(milliseconds) / 1000));
    if (o.code == 0) break;
    ASSERT_EQ(o.code, 137) << o.err;
    ++kills;
    if (!fs::exists(killed / "checkpoints/latest")) continue;
    inside += !leftovers(killed.path()).empty();
    ASSERT_EQ(elastron(0, "inspect " + killed.path()).code, 0);
  }
  EXPECT_GT(kills, 2);
  RecordProperty("kills", kills);
  RecordProperty("kills_inside_a_save", inside);
  const Outcome last = elastron(0, arguments(killed.path(), kSteps));
  ASSERT_EQ(last.code, 0) << last.err;
  EXPECT_EQ(leftovers(killed.path()), std::vector<std::string>{});
  EXPECT_EQ(contents(killed.path()), contents(whole.path()));
  const auto expected = metrics(whole.path()), found = metrics(killed.path());
  ASSERT_EQ(found.size(), expected.size());
  for (const auto& [step, figures] : expected) {
    for (const char* key : {"loss", "lm_loss", "sparsity_loss", "msr", "grad_norm", "tau"}) {
      EXPECT_EQ(found.at(step)[key], figures[key]) << "step " << step << " " << key;
    }
  }
}

// A training step and a save onto a folder with one checkpoint; call `k` of `function` fails. ->
// whether there were so many calls.
bool fail_call(int ranks, const std::string& function, int k, int error, const std::string& before,
               const nlohmann::json& expected) {
  const Scratch scratch;
  const std::string run = scratch / "run", report = scratch / "report";
  fs::copy(before, run, fs::copy_options::recursive);
  const Outcome o =
      elastron(ranks, arguments(run, 2),
               "export LD_PRELOAD=" + preloadable(ELASTRON_FAILING_CALLS) +
                   " FAIL_RANK=0 FAIL_CALL=" + function + " FAIL_AT=" + std::to_string(k) +
                   " FAIL_ERRNO=" + std::to_string(error) + " FAIL_REPORT=" + report + ";");
  const std::string where = function + " " + std::to_string(k);
  if (!fs::exists(report)) {
    EXPECT_EQ(o.code, 0) << where << "\n" << o.err;
    return false;
  }
  // A failure is told, unless the save could do without that call.
  EXPECT_TRUE(o.code == 4 || o.code == 0) << where << ": " << o.code << "\n" << o.err;
  EXPECT_EQ(o.code == 4, o.err.find("error: ") != std::string::npos) << where << "\n" << o.err;
  // What the library says of it is told in its words for people.
  EXPECT_EQ(o.err.find("time = "), std::string::npos) << where << "\n" << o.err;
  EXPECT_EQ(leftovers(run), std::vector<std::string>{}) << where;
  if (o.code == 0) {
    EXPECT_EQ(contents(run), expected) << where;
  }
  const Outcome whole = elastron(0, "inspect " + run);
  EXPECT_EQ(whole.code, 0) << where << "\n" << whole.err;
  const Outcome again = elastron(0, arguments(run, 2));
  EXPECT_EQ(again.code, 0) << where << "\n" << again.err;
  if (ranks < 2) {  // sums over two ranks round differently
    EXPECT_EQ(contents(run), expected) << where;
  }
  return true;
}

void fail_calls(int ranks, int error) {
  const Scratch scratch;
  const std::string before = scratch / "before", after = scratch / "after";
  ASSERT_EQ(elastron(ranks, arguments(before, 1)).code, 0);
  fs::copy(before, after, fs::copy_options::recursive);
  ASSERT_EQ(elastron(ranks, arguments(after, 2)).code, 0);
  const nlohmann::json expected = contents(after);
  std::map<std::string, int> calls;
  // Every call, but only some of the many that write the tensors.
  const std::pair<const char*, int> functions[] = {
      {"open", 1},  {"open64", 1},  {"fallocate", 1}, {"ftruncate", 1}, {"ftruncate64", 1},
      {"write", 1}, {"pwrite", 12}, {"pwrite64", 12}, {"writev", 12},   {"pwritev", 12},
      {"fsync", 1}, {"close", 1},   {"rename", 1}};
  for (const auto& [function, stride] : functions) {
    int k = 1;
    while (fail_call(ranks, function, k, error, before, expected)) {
      ++calls[function];
      k += stride;
      ASSERT_FALSE(::testing::Test::HasFailure());
    }
  }
  // Among the calls are those that the recipe rests on.
  EXPECT_GE(calls["fsync"], 4);  // file and folder, of the checkpoint and of `latest`
  EXPECT_EQ(calls["rename"], 2);
  EXPECT_GE(calls["write"] + calls["pwrite"] + calls["pwrite64"] + calls["pwritev"], 6);
}

TEST(FailingCall, OfASave) { fail_calls(0, ENOSPC); }
TEST(FailingCall, OfASaveByTwoRanks) { fail_calls(2, EIO); }

// One step of a backbone: a checkpoint that is mostly tensors.
std::string one_step(const std::string& folder, const std::string& more = "") {
  return "train " + std::string(ELASTRON_SOURCE_DIR) + "/tests/launch/pretrain.yaml" +
         " --set model.path=" + tiny_shapes() + " --set output.dir=" + folder +
         " --set train.steps=1 --set train.global_batch=2 --set train.shard_optimizer=false" +
         " --set data.synthetic.lengths=[64] " + more;
}
const std::string kWatched = "--set parallel.timeout_seconds=3";

// Storage on which a checkpoint takes `seconds` to be read or written once.
std::string slow(const std::string& run, double seconds) {
  const auto bytes = double(fs::file_size(run + "/checkpoints/step-00000001.h5"));
  return "export LD_PRELOAD=" + preloadable(ELASTRON_SLOW_STORAGE) +
         " SLOW_PATH=/checkpoints/ SLOW_BYTES=" + std::to_string(bytes / seconds) + ";";
}

// A save writes all of it, compares it with memory and checks it, and going on checks and loads it:
// each takes longer than the watchdog waits, and no tensor does. Of two ranks one writes, and the
// other waits for it.
TEST(SlowStorage, IsNoStandstill) {
  const Scratch fast;
  ASSERT_EQ(elastron(0, one_step(fast.path())).code, 0);
  const std::string prefix = slow(fast.path(), 5);
  for (const int ranks : {0, 2}) {
    const Scratch run;
    const Outcome saved = elastron(ranks, one_step(run.path(), kWatched), prefix);
    ASSERT_EQ(saved.code, 0) << saved.err;
    if (ranks == 0) {
      EXPECT_EQ(contents(run.path()), contents(fast.path()));
    }
    const Outcome again = elastron(ranks, one_step(run.path(), kWatched), prefix);
    ASSERT_EQ(again.code, 0) << again.err;
    EXPECT_NE(again.err.find("nothing to train"), std::string::npos) << again.err;
  }
}

TEST(SlowStorage, ThatHangsIsFound) {
  const Scratch fast;
  ASSERT_EQ(elastron(0, one_step(fast.path())).code, 0);
  const std::string prefix = slow(fast.path(), 100000);
  for (const int ranks : {0, 2}) {
    const Scratch run;
    expect_error(elastron(ranks, one_step(run.path(), kWatched), prefix), 6,
                 {"no progress for ", "missing: rank 0 (saving step 1"});
    EXPECT_FALSE(fs::exists(run / "checkpoints/latest"));
    expect_error(elastron(ranks, one_step(fast.path(), kWatched), prefix), 6,
                 {"no progress for ", "missing: rank ", "(looking for checkpoints"});
  }
}

// Any flipped bit is noticed, or is one that means nothing; so is any cut.
TEST(Damage, FlippedBitsAndCuts) {
  const Scratch scratch;
  ASSERT_EQ(elastron(0, arguments(scratch / "run", 1)).code, 0);
  const std::string good = scratch / "run/checkpoints/step-00000001.h5";
  const std::string bytes = read_text(good), expected = elastron(0, "inspect " + good).out;
  const std::string bad = scratch / "step-00000001.h5";
  std::mt19937 random(11);
  int noticed = 0;
  const int kFlips = 120;
  for (int i = 0; i < kFlips; ++i) {
    // Half of them in the first part, where the library's own structures are.
    const size_t at = random() % (i % 2 ? bytes.size() : std::min<size_t>(bytes.size(), 8192));
    std::string flipped = bytes;
    flipped[at] = char(flipped[at] ^ (1 << (random() % 8)));
    write_text(bad, flipped);
    const Outcome o = elastron(0, "inspect " + bad);
    ASSERT_TRUE(o.code == 4 || o.code == 0) << "byte " << at << ": " << o.code << "\n" << o.err;
    noticed += o.code == 4;
    if (o.code == 4) {
      EXPECT_EQ(o.err.find("error: "), o.err.rfind("error: ")) << o.err;
      EXPECT_NE(o.err.find(bad), std::string::npos) << o.err;
    } else {
      EXPECT_EQ(o.out.substr(o.out.find('\n')), expected.substr(expected.find('\n')))
          << "byte " << at;
    }
  }
  EXPECT_GT(noticed, kFlips / 2);
  RecordProperty("noticed", noticed);
  for (const size_t keep : {size_t(0), size_t(7), size_t(47), size_t(48), size_t(2000),
                            bytes.size() / 2, bytes.size() - 1}) {
    write_text(bad, bytes.substr(0, keep));
    const Outcome o = elastron(0, "inspect " + bad);
    EXPECT_EQ(o.code, 4) << "cut to " << keep << "\n" << o.err;
  }
  write_text(bad, bytes + "x");
  EXPECT_EQ(elastron(0, "inspect " + bad).code, 4);
}

}  // namespace
}  // namespace elastron::test
