// Which run a start of the program goes on with, from which checkpoint, and where the files of the
// one before are then.
#include "train/run.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include "core/json.h"
#include "parallel/agree.h"
#include "tests/support/scratch.h"

namespace elastron::train {
namespace {

namespace fs = std::filesystem;

class RunTest : public ::testing::Test {
 protected:
  RunTest() { config_.output.dir = dir(); }

  std::string dir() const { return scratch_ / "run"; }
  bool there(const std::string& name) const { return fs::exists(scratch_ / name); }
  void write(const std::string& name, const std::string& text = "x\n") const {
    scratch_.write(name, text);
  }
  std::vector<std::string> previous() const {
    std::vector<std::string> names;
    if (!there("run/previous")) return names;
    for (const auto& entry : fs::directory_iterator(dir() + "/previous")) {
      names.push_back(entry.path().filename().string());
    }
    return names;
  }

  // A checkpoint of `run` in `folder`, of one small tensor.
  std::string save(const std::string& run, int64_t step, const std::string& folder = "run") {
    Parameter p;
    p.name = "p";
    p.logical_shape = {2};
    p.value = Tensor::from(std::vector<float>{1, 2}, {2}, cpu_);
    p.partition = Partition{};
    CheckpointStore store(scratch_ / folder + "/checkpoints", 9, mesh_);
    return store.save({.step = step, .objective = "router", .run = run}, {.parameters = {&p}});
  }

  struct Begun {
    std::string id, from;
    bool goes_on = false;
  };
  // A start that begins, saves a checkpoint of `save_at` if asked to, and writes metrics.
  Begun start(const ResumeRequest& request, int64_t save_at = -1) {
    train::Run run(config_, request, mesh_);
    run.begin();
    const Begun begun = {run.id(), run.from() ? run.from()->path : "", run.goes_on()};
    write("run/metrics.jsonl", run.id());
    if (save_at >= 0) {
      save(run.id(), save_at);
      run.saved();
    }
    return begun;
  }
  void expect_failure(const ResumeRequest& request, ExitCode kind, const std::string& fragment) {
    try {
      train::Run run(config_, request, mesh_);
      ADD_FAILURE() << "no failure";
    } catch (const parallel::AgreedFailure& failure) {
      EXPECT_EQ(failure.kind(), kind);
      EXPECT_NE(failure.line()->find(fragment), std::string::npos) << *failure.line();
    }
  }

  static inline const ResumeRequest kAuto = {}, kNone = {.mode = ResumeMode::none};
  static ResumeRequest with(const std::string& path) {
    return {.mode = ResumeMode::path, .path = path};
  }

  CpuDevice cpu_;
  parallel::Mesh mesh_ = parallel::Mesh::single();
  const test::Scratch scratch_;
  Config config_;
};

TEST_F(RunTest, GoesOnByItself) {
  const Begun first = start(kAuto, 4);
  EXPECT_EQ(first.from, "");
  const Begun second = start(kAuto, 8);
  EXPECT_EQ(second.id, first.id);
  EXPECT_TRUE(second.goes_on);
  EXPECT_EQ(second.from, dir() + "/checkpoints/step-00000004.h5");
  EXPECT_TRUE(previous().empty());
}

TEST_F(RunTest, ANewOneNeverSeesTheOldOne) {
  const Begun old = start(kAuto, 8);
  write("run/comparison.json");  // the folder was the run's own
  const Begun fresh = start(kNone);
  EXPECT_NE(fresh.id, old.id);
  EXPECT_EQ(fresh.from, "");
  ASSERT_EQ(previous(), std::vector<std::string>{old.id});
  const std::string kept = "run/previous/" + old.id;
  for (const char* name : {"/checkpoints/step-00000008.h5", "/checkpoints/latest", "/metrics.jsonl",
                           "/comparison.json", "/run.json"}) {
    EXPECT_TRUE(there(kept + name)) << name;
  }
  EXPECT_FALSE(there("run/comparison.json"));
  // Killed before its first save: the same run, from its start.
  const Begun again = start(kAuto);
  EXPECT_EQ(again.id, fresh.id);
  EXPECT_EQ(again.from, "");
  EXPECT_FALSE(again.goes_on);
  EXPECT_EQ(previous().size(), 1u);
  // The old one goes on where it is now.
  config_.output.dir = scratch_ / kept;
  EXPECT_EQ(train::Run(config_, kAuto, mesh_).id(), old.id);
}

TEST_F(RunTest, ACheckpointOfAnotherRunBeginsANewOne) {
  save("another", 5, "elsewhere");
  const Begun old = start(kAuto, 8);
  const Begun fresh = start(with(scratch_ / "elsewhere"));
  EXPECT_NE(fresh.id, old.id);
  EXPECT_NE(fresh.id, "another");
  EXPECT_FALSE(fresh.goes_on);
  EXPECT_EQ(previous(), std::vector<std::string>{old.id});
  // Killed before its first save: from there again.
  const std::string begin = scratch_ / "elsewhere/checkpoints/step-00000005.h5";
  const Begun again = start(kAuto);
  EXPECT_EQ(again.id, fresh.id);
  EXPECT_EQ(fs::path(again.from), fs::weakly_canonical(begin));
  save("third", 5, "exchanged");
  fs::copy(scratch_ / "exchanged/checkpoints/step-00000005.h5", begin,
           fs::copy_options::overwrite_existing);
  expect_failure(kAuto, ExitCode::checkpoint, "another checkpoint is in the place");
  fs::remove(begin);
  expect_failure(kAuto, ExitCode::checkpoint, "is gone");
}

TEST_F(RunTest, ItsOwnEarlierCheckpointIsGoneBackTo) {
  const Begun first = start(kAuto, 4);
  start(kAuto, 8);
  const Begun back = start(with(dir() + "/checkpoints/step-00000004.h5"));
  EXPECT_EQ(back.id, first.id);
  EXPECT_TRUE(back.goes_on);
  EXPECT_EQ(previous(), std::vector<std::string>{first.id + "-after-4"});
  // Killed before its first save: not from step 8.
  EXPECT_EQ(start(kAuto).from, dir() + "/checkpoints/step-00000004.h5");
  // The words are of this folder.
  EXPECT_EQ(start(with("latest")).from, dir() + "/checkpoints/step-00000004.h5");
  expect_failure(with("best"), ExitCode::checkpoint, "no 'best' checkpoint");
}

TEST_F(RunTest, StartsOfOneJobBeginOneRun) {
  const Begun old = start(kAuto, 8);
  const ResumeRequest job = {.mode = ResumeMode::none, .job = "j1"};
  const Begun fresh = start(job);
  EXPECT_NE(fresh.id, old.id);
  const Begun again = start(job, 3);
  EXPECT_EQ(again.id, fresh.id);
  EXPECT_EQ(again.from, "");
  EXPECT_EQ(start(job).from, dir() + "/checkpoints/step-00000003.h5");
  EXPECT_EQ(previous(), std::vector<std::string>{old.id});
  EXPECT_NE(start({.mode = ResumeMode::none, .job = "j2"}).id, fresh.id);
  EXPECT_EQ(previous().size(), 2u);
}

// Also one whose checkpoints went, so that it began anew by itself.
TEST_F(RunTest, AJobThatBeganAnewStaysOneRun) {
  const Begun old = start(kAuto, 8);
  fs::remove_all(dir() + "/checkpoints");
  const Begun fresh = start({.mode = ResumeMode::automatic, .job = "j"});
  EXPECT_NE(fresh.id, old.id);
  EXPECT_EQ(start({.mode = ResumeMode::none, .job = "j"}).id, fresh.id);
}

// Of version 0.1, or imported into the folder.
TEST_F(RunTest, AFolderWithoutIdsGoesOn) {
  save("", 6);
  const Begun first = start(kAuto);
  EXPECT_TRUE(first.goes_on);
  EXPECT_EQ(first.from, dir() + "/checkpoints/step-00000006.h5");
  EXPECT_TRUE(previous().empty());
  EXPECT_EQ(start(kAuto).id, first.id);
  // Later on its own ones count.
  start(kAuto, 7);
  EXPECT_EQ(start(kAuto).from, dir() + "/checkpoints/step-00000007.h5");
  EXPECT_EQ(start(with(dir() + "/checkpoints/step-00000006.h5")).id, first.id);
}

// A copy of the checkpoints alone is the same run.
TEST_F(RunTest, ALostRecordIsMadeAgain) {
  const Begun first = start(kAuto, 4);
  fs::remove(dir() + "/run.json");
  const Begun again = start(kAuto);
  EXPECT_EQ(again.id, first.id);
  EXPECT_TRUE(again.goes_on);
  write("run/run.json", "{}");
  expect_failure(kAuto, ExitCode::checkpoint, "run.json");
}

TEST_F(RunTest, OneWhoseCheckpointsAreGoneIsKept) {
  const Begun first = start(kAuto, 4);
  fs::remove_all(dir() + "/checkpoints");
  const Begun second = start(kAuto);
  EXPECT_NE(second.id, first.id);
  EXPECT_TRUE(there("run/previous/" + first.id + "/metrics.jsonl"));
  // Put there by hand, of another run: never taken.
  save("another", 9);
  EXPECT_EQ(start(kAuto).from, "");
}

// What was there before the run, and what the new one reads, stays.
TEST_F(RunTest, OthersFilesStay) {
  write("run/notes.txt");
  write("run/model/config.json");
  save("", 0, "run/imported");
  config_.model.path = dir() + "/model";
  const Begun first = start(kAuto, 4);
  start(with(dir() + "/imported"));
  for (const char* name : {"run/notes.txt", "run/model/config.json", "run/imported/checkpoints"}) {
    EXPECT_TRUE(there(name)) << name;
  }
  EXPECT_TRUE(there("run/previous/" + first.id + "/checkpoints/step-00000004.h5"));
  EXPECT_FALSE(there("run/checkpoints"));
}

TEST_F(RunTest, ABackboneIsNotWrittenOverTheOneThatIsRead) {
  config_.model.path = dir() + "/model";
  config_.train.objective = Objective::pretrain;
  expect_failure(kNone, ExitCode::usage, "would be written over the one that it is made from");
}

TEST_F(RunTest, DamageIsTold) {
  start(kAuto, 4);
  start(kAuto, 8);
  // A file under another step's name.
  const std::string folder = dir() + "/checkpoints/";
  fs::copy(folder + "step-00000004.h5", folder + "step-00000009.h5");
  write("run/checkpoints/latest", "step-00000009.h5\n");
  EXPECT_EQ(train::Run(config_, kAuto, mesh_).from()->header.step, 8);
  expect_failure(with(folder + "step-00000009.h5"), ExitCode::checkpoint,
                 "the file's name says step 9, it holds step 4");
  for (const char* name : {"metrics.jsonl", "log.txt", "config.yaml", "checkpoints/best",
                           "checkpoints/step-00000010.h5"}) {
    const std::string path = dir() + "/" + name;
    fs::remove_all(path);
    fs::create_directories(path);
    expect_failure(kAuto, ExitCode::usage, std::string(name) + "): move it away");
    fs::remove_all(path);
  }
  write("run/tensorboard");
  expect_failure(kAuto, ExitCode::usage, "a file is in the place of a folder");
}

// A record that somebody else wrote moves nothing from or to other places.
TEST(RunRecordText, StaysInItsFolder) {
  RunRecord record = new_run();
  const auto parsed = [&](const Removal& removal) {
    Removal found;
    parse_run(run_text(record, removal), "run.json", found);
    return found;
  };
  EXPECT_EQ(parsed({"previous/a", {"b"}}).to, "previous/a");
  for (const Removal& bad : {Removal{"previous/..", {"b"}}, Removal{"/etc", {"b"}},
                             Removal{"previous/a/../..", {"b"}}, Removal{"previous/a", {"../b"}},
                             Removal{"previous/a", {".."}}, Removal{"previous/a", {""}}}) {
    EXPECT_THROW(parsed(bad), CheckpointError) << bad.to;
  }
  record.id = "../x";
  EXPECT_THROW(parsed({}), CheckpointError);
}

}  // namespace
}  // namespace elastron::train
