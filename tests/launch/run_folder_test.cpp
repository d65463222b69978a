// One run, one folder, through the real program: a new run never meets an old one's checkpoints or
// metrics, whenever it is killed; two runs never share a folder; damage is told before a step is
// computed.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "tests/launch/program.h"

namespace elastron::test {
namespace {

namespace fs = std::filesystem;

std::string arguments(const std::string& folder, int steps, const std::string& more = "") {
  return "train " + std::string(ELASTRON_SOURCE_DIR) + "/tests/launch/router.yaml" +
         " --set model.path=" + tiny_backbone() + " --set output.dir=" + folder +
         " --set train.steps=" + std::to_string(steps) +
         " --set train.warmup_ratio=0 --set checkpoint.every=2 --set train.global_batch=2 " + more;
}
const std::string kOther = "--set train.lr.router=1e-4 ";

// Call `at` of `function` on a path with `part` in it is the last one.
std::string killed_at(const std::string& function, int at, const std::string& part,
                      const std::string& report) {
  return "export LD_PRELOAD=" + preloadable(ELASTRON_FAILING_CALLS) +
         " FAIL_RANK=0 FAIL_CALL=" + function + " FAIL_AT=" + std::to_string(at) +
         " FAIL_PATH=" + part + " FAIL_REPORT=" + report + ";";
}

std::string run_id(const std::string& folder) {
  return nlohmann::json::parse(read_text(folder + "/run.json"))["id"];
}
std::set<std::string> previous(const std::string& folder) {
  std::set<std::string> names;
  std::error_code absent;
  for (const auto& entry : fs::directory_iterator(folder + "/previous", absent)) {
    names.insert(entry.path().filename().string());
  }
  return names;
}
// Of the run in the folder alone, each of its steps once.
void expect_one_run(const std::string& folder, int64_t first, int64_t last) {
  const std::string id = run_id(folder);
  const auto steps = metrics(folder);
  EXPECT_EQ(int64_t(steps.size()), last - first + 1);
  for (const auto& [step, object] : steps) {
    EXPECT_EQ(object["run"], id) << step;
    EXPECT_TRUE(step >= first && step <= last) << step;
  }
  for (const auto& entry : fs::directory_iterator(folder + "/checkpoints")) {
    if (entry.path().extension() != ".h5") continue;
    const Outcome o = elastron(0, "inspect --json " + entry.path().string());
    EXPECT_EQ(o.code, 0) << o.err;
    EXPECT_EQ(nlohmann::json::parse(o.out)["run"], id) << entry.path();
  }
}

class OldRun : public ::testing::Test {
 protected:
  OldRun() {
    const Outcome o = elastron(0, arguments(folder_, 4));
    EXPECT_EQ(o.code, 0) << o.err;
    id_ = run_id(folder_);
    metrics_ = read_text(folder_ + "/metrics.jsonl");
  }
  void expect_kept(const std::string& in) const {
    const std::string kept = in + "/previous/" + id_;
    EXPECT_EQ(read_text(kept + "/metrics.jsonl"), metrics_);
    EXPECT_EQ(read_text(kept + "/checkpoints/latest"), "step-00000004.h5\n");
    EXPECT_EQ(elastron(0, "inspect " + kept).code, 0);
    EXPECT_TRUE(fs::exists(kept + "/tensorboard") && fs::exists(kept + "/log.txt"));
  }

  Scratch scratch_;
  std::string folder_ = scratch_ / "run", report_ = scratch_ / "report", id_, metrics_;
};

TEST_F(OldRun, IsNotResumedByANewOneThatWasKilled) {
  const Outcome killed = elastron(0, arguments(folder_, 6, kOther + "--resume none"),
                                  killed_at("rename", 1, "/checkpoints/step", report_));
  ASSERT_EQ(killed.code, 137) << killed.err;
  EXPECT_NE(killed.err.find("earlier run in " + folder_), std::string::npos) << killed.err;
  EXPECT_NE(killed.err.find("previous/" + id_), std::string::npos) << killed.err;
  const Outcome again = elastron(0, arguments(folder_, 6, kOther));
  ASSERT_EQ(again.code, 0) << again.err;
  EXPECT_EQ(again.err.find("resumed from"), std::string::npos) << again.err;
  expect_one_run(folder_, 1, 6);
  EXPECT_EQ(previous(folder_), std::set<std::string>{id_});
  expect_kept(folder_);
  EXPECT_NE(read_text(folder_ + "/log.txt").find(run_id(folder_)), std::string::npos);
}

// At every rename, of the move and of the run's first files.
TEST_F(OldRun, IsNeverMixedWhereverTheMoveIsKilled) {
  int moments = 0;
  for (int at = 1;; ++at) {
    const std::string copy = scratch_ / ("copy" + std::to_string(at));
    fs::copy(folder_, copy, fs::copy_options::recursive);
    const Outcome killed =
        elastron(0, arguments(copy, 2, kOther + "--resume none"),
                 killed_at("rename", at, copy, scratch_ / ("report" + std::to_string(at))));
    if (killed.code == 0) break;
    ASSERT_EQ(killed.code, 137) << at << ": " << killed.err;
    ++moments;
    const Outcome again = elastron(0, arguments(copy, 6, kOther));
    ASSERT_EQ(again.code, 0) << at << ": " << again.err;
    expect_one_run(copy, 1, 6);
    // Either the old run went on, or the new one began and all of the old one is kept.
    if (run_id(copy) == id_) {
      EXPECT_EQ(read_text(copy + "/metrics.jsonl").substr(0, metrics_.size()), metrics_) << at;
    } else {
      expect_kept(copy);
      EXPECT_EQ(previous(copy), std::set<std::string>{id_}) << at;
    }
    ASSERT_FALSE(HasFailure()) << at;
    fs::remove_all(copy);
  }
  EXPECT_GE(moments, 9);  // two records, five names, the record again, the first files
}

class Restarts : public OldRun {
 protected:
  Outcome restarted(const std::string& more) {
    return run_program(std::string(ELASTRON_SOURCE_DIR) + "/launch/elastron-run", 0,
                       "--restarts 1 " + arguments(folder_, 8, more),
                       killed_at("rename", 1, "/checkpoints/step", report_) +
                           " export ELASTRON_RESTART_SECONDS=0 ELASTRON_BIN=" ELASTRON_PROGRAM ";");
  }
};

TEST_F(Restarts, BeginOneNewRun) {
  const Outcome o = restarted(kOther + "--resume none");
  ASSERT_EQ(o.code, 0) << o.err;
  EXPECT_NE(o.err.find("restart 1 of 1"), std::string::npos) << o.err;
  EXPECT_EQ(o.err.find("resumed from"), std::string::npos) << o.err;
  expect_one_run(folder_, 1, 8);
  EXPECT_EQ(previous(folder_), std::set<std::string>{id_});
  expect_kept(folder_);
}

TEST_F(Restarts, BeginAgainWithTheCheckpointThatWasNamed) {
  const std::string other = scratch_ / "other";
  ASSERT_EQ(elastron(0, arguments(other, 2)).code, 0);
  const Outcome o = restarted("--resume " + other);
  ASSERT_EQ(o.code, 0) << o.err;
  EXPECT_NE(o.err.find("restart 1 of 1"), std::string::npos) << o.err;
  expect_one_run(folder_, 3, 8);
  EXPECT_EQ(previous(folder_), std::set<std::string>{id_});
  expect_kept(folder_);
  EXPECT_EQ(metrics(other).size(), 2u);
}

// An imported router has no place in another run's folder.
TEST_F(OldRun, IsNotOverwrittenByAnImportedRouter) {
  ASSERT_EQ(elastron(0, "export --checkpoint " + folder_ + " --out " + (scratch_ / "own")).code, 0);
  const std::string import =
      "import --from " + (scratch_ / "own") + " --model " + tiny_backbone() + " --out ";
  ASSERT_EQ(elastron(0, import + (scratch_ / "imported")).code, 0);
  expect_error(elastron(0, import + folder_ + "/checkpoints"), 2, {"belongs to a run"});
  const Outcome o = elastron(0, arguments(folder_, 3, "--resume " + (scratch_ / "imported")));
  ASSERT_EQ(o.code, 0) << o.err;
  expect_one_run(folder_, 1, 3);
  expect_kept(folder_);
}

// What it wrote would have to go and to stay.
TEST_F(OldRun, IsNotReplacedByOneThatReadsIt) {
  const std::string other = scratch_ / "other", foreign = folder_ + "/checkpoints/step-00000002.h5";
  ASSERT_EQ(elastron(0, arguments(other, 2)).code, 0);
  fs::copy(other + "/checkpoints/step-00000002.h5", foreign, fs::copy_options::overwrite_existing);
  expect_error(elastron(0, arguments(folder_, 6, "--resume " + foreign)), 2,
               {"would read files of the one", folder_ + "/checkpoints", "output.dir"});
  const std::string reward = "train " + std::string(ELASTRON_SOURCE_DIR) +
                             "/tests/launch/reward.yaml --set model.path=" + tiny_backbone() +
                             " --set train.steps=2 --resume none --set output.dir=" + folder_;
  for (const std::string& router : {folder_, folder_ + "/latest"}) {
    expect_error(elastron(0, reward + " --set reward.router=" + router), 2,
                 {"would read files of the one"});
  }
  EXPECT_EQ(run_id(folder_), id_);
  EXPECT_EQ(read_text(folder_ + "/metrics.jsonl"), metrics_);
  EXPECT_TRUE(previous(folder_).empty());
}

TEST_F(OldRun, IsNotTakenAlongByTheRunAroundIt) {
  const std::string inner = folder_ + "/more/inner";
  ASSERT_EQ(elastron(0, arguments(inner, 2)).code, 0);
  write_text(folder_ + "/figures.json", "{}");
  ASSERT_EQ(elastron(0, arguments(folder_, 2, "--resume none")).code, 0);
  expect_kept(folder_);
  EXPECT_TRUE(fs::exists(folder_ + "/previous/" + id_ + "/figures.json"));
  expect_one_run(inner, 1, 2);
}

TEST_F(OldRun, MovesLinksWithWhatTheyPointAt) {
  const std::string elsewhere = scratch_ / "elsewhere";
  fs::rename(folder_ + "/checkpoints", elsewhere);
  fs::create_symlink("../elsewhere", folder_ + "/checkpoints");
  ASSERT_EQ(elastron(0, arguments(folder_, 2, "--resume none")).code, 0);
  expect_kept(folder_);
  expect_one_run(folder_, 1, 2);
}

// Steps that are taken again from an earlier checkpoint leave nothing of the first time.
TEST_F(OldRun, DropsWhatIsTakenAgain) {
  ASSERT_EQ(elastron(0, arguments(folder_, 8)).code, 0);
  const std::string six = folder_ + "/checkpoints/step-00000006.h5";
  ASSERT_TRUE(fs::exists(six));
  const Outcome back = elastron(0, arguments(folder_, 7, "--resume " + six));
  ASSERT_EQ(back.code, 0) << back.err;
  const std::string aside = folder_ + "/previous/" + id_ + "-after-6/checkpoints";
  EXPECT_NE(back.err.find("checkpoints of later steps are in " + aside), std::string::npos)
      << back.err;
  EXPECT_TRUE(fs::exists(aside + "/step-00000008.h5"));
  fs::remove(folder_ + "/checkpoints/latest");
  const Outcome on = elastron(0, arguments(folder_, 8));
  ASSERT_EQ(on.code, 0) << on.err;
  EXPECT_NE(on.err.find("resumed from " + folder_ + "/checkpoints/step-00000007.h5"),
            std::string::npos)
      << on.err;
  expect_one_run(folder_, 1, 8);
}

TEST_F(OldRun, DeletesNoOtherRunsCheckpoints) {
  const std::string other = scratch_ / "other";
  ASSERT_EQ(elastron(0, arguments(other, 2)).code, 0);
  const std::string foreign = folder_ + "/checkpoints/step-00000002.h5";
  fs::copy(other + "/checkpoints/step-00000002.h5", foreign, fs::copy_options::overwrite_existing);
  ASSERT_EQ(elastron(0, arguments(folder_, 10)).code, 0);
  EXPECT_FALSE(fs::exists(folder_ + "/checkpoints/step-00000004.h5"));
  EXPECT_EQ(nlohmann::json::parse(elastron(0, "inspect --json " + foreign).out)["run"],
            run_id(other));
}

TEST_F(OldRun, HasNothingToTrain) {
  const auto time = fs::last_write_time(folder_ + "/metrics.jsonl");
  const std::string config = read_text(folder_ + "/config.yaml"),
                    log = read_text(folder_ + "/log.txt");
  const Outcome o = elastron(2, arguments(folder_, 4));
  EXPECT_EQ(o.code, 0) << o.err;
  EXPECT_NE(o.err.find("already at step 4 of 4: nothing to train"), std::string::npos) << o.err;
  EXPECT_EQ(fs::last_write_time(folder_ + "/metrics.jsonl"), time);
  EXPECT_EQ(read_text(folder_ + "/config.yaml"), config);
  EXPECT_EQ(read_text(folder_ + "/log.txt"), log);
}

TEST_F(OldRun, SaysHowItsScheduleChanges) {
  const Outcome o = elastron(0, arguments(folder_, 8, "--set train.lr.lambda=1e-2"));
  ASSERT_EQ(o.code, 0) << o.err;
  // Cosine, at the end of 4 steps and half way of 8.
  EXPECT_NE(o.err.find("lr_router jumps from 5e-10 to 0.0025 at step 5"), std::string::npos)
      << o.err;
  EXPECT_NE(o.err.find("train.steps is 8 now, 4 in the checkpoint"), std::string::npos) << o.err;
  EXPECT_NE(o.err.find("done at step 8: checkpoint " + folder_ +
                       "/checkpoints/step-00000008.h5, metrics " + folder_ + "/metrics.jsonl"),
            std::string::npos)
      << o.err;
}

TEST_F(OldRun, IsFoundByTheWordsLatestAndBest) {
  const std::string eval = "eval " + arguments(folder_, 4).substr(6) + "--checkpoint ";
  EXPECT_EQ(elastron(0, eval + "latest").code, 0);
  expect_error(elastron(0, eval + "best"), 4, {"no 'best' checkpoint", folder_});
  EXPECT_EQ(elastron(0, "inspect " + folder_ + "/latest").code, 0);
  expect_error(elastron(0, "inspect latest"), 4, {"write RUNFOLDER/latest"});
  expect_error(elastron(0, "export --out " + (scratch_ / "own") + " --checkpoint best"), 4,
               {"write RUNFOLDER/best"});
  ASSERT_EQ(elastron(0, arguments(folder_, 6, "--resume latest --set eval.every=3")).code, 0);
  EXPECT_EQ(elastron(0, eval + "best").code, 0);
  EXPECT_EQ(elastron(0, "inspect " + folder_ + "/best").code, 0);
  EXPECT_EQ(elastron(0, "generate --model " + tiny_backbone() + " --prompt n1 --max-tokens 1 " +
                            "--router " + folder_ + "/best")
                .code,
            0);
  // Where a relative path was looked for.
  expect_error(elastron(0, eval + "none/step-00000001.h5"), 4,
               {fs::current_path().string() + "/none/step-00000001.h5"});
}

TEST_F(OldRun, IsShownWithItsConfiguration) {
  const Outcome text = elastron(0, "inspect " + folder_);
  ASSERT_EQ(text.code, 0) << text.err;
  EXPECT_NE(text.out.find("best evaluation: none yet"), std::string::npos) << text.out;
  EXPECT_NE(text.out.find("\n    train.steps: 4\n"), std::string::npos) << text.out;
  for (const char* sentinel : {"inf", "-1", "9223372036854775807"}) {
    EXPECT_EQ(text.out.find(std::string(": ") + sentinel + "\n"), std::string::npos) << text.out;
  }
  const Outcome whole = elastron(0, "inspect --config " + folder_);
  EXPECT_NE(whole.out.find("\n    train:\n"), std::string::npos) << whole.out;
  const auto object = nlohmann::json::parse(elastron(0, "inspect --json " + folder_).out);
  EXPECT_EQ(object["step"], 4);
  EXPECT_EQ(object["run"], id_);
  EXPECT_TRUE(object["best"].is_null());
  EXPECT_TRUE(object["data"]["packs"].is_null());
  EXPECT_EQ(object["config"]["train.steps"], 4);
  EXPECT_EQ(object["config"]["data.synthetic.lengths"], nlohmann::json({64, 90}));
  EXPECT_EQ(object["config"]["train.objective"], "router");
  EXPECT_EQ(object["tensors"].size(), 22u);
}

TEST_F(OldRun, TimeAndPassesAreInItsMetrics) {
  for (const auto& [step, object] : metrics(folder_)) {
    EXPECT_EQ(object["time"].get<std::string>().size(), 24u) << object["time"];
    EXPECT_FALSE(object.contains("epoch"));  // data without end
  }
  std::string rows;
  for (int i = 0; i < 5; ++i) {
    rows += R"({"context": "n1 n2", "question": "find", "answer": "v1", )"
            R"("metadata": {"task": "Code"}})"
            "\n";
  }
  write_text(scratch_ / "rows.jsonl", rows);
  const Outcome o =
      elastron(0, arguments(scratch_ / "jsonl", 3,
                            "--set data.format=jsonl --set data.packing=none --set data.train=[" +
                                (scratch_ / "rows.jsonl") + "]"));
  ASSERT_EQ(o.code, 0) << o.err;
  // Two documents of five per step: four make a pass.
  const auto steps = metrics(scratch_ / "jsonl");
  EXPECT_EQ(steps.at(1)["epoch"], 0.5);
  EXPECT_EQ(steps.at(2)["epoch"], 1.0);
  EXPECT_EQ(steps.at(3)["epoch"], 1.5);
}

// --- two runs
// ------------------------------------------------------------------------------------

class Background {
 public:
  explicit Background(const std::string& arguments) {
    const std::string command =
        for_shell("exec " ELASTRON_PROGRAM " " + arguments + " >/dev/null 2>&1");
    process_ = fork();
    if (process_ == 0) execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
  }
  ~Background() { end(); }
  void end() {
    if (process_ <= 0) return;
    kill(process_, SIGKILL);
    waitpid(process_, nullptr, 0);
    process_ = -1;
  }
  pid_t process() const { return process_; }

 private:
  pid_t process_ = -1;
};

TEST(TwoRuns, TheSecondIsRefusedUntilTheFirstIsGone) {
  const Scratch run;
  Background first(arguments(run.path(), 100000));
  for (int tries = 0; tries < 600 && read_text(run / "metrics.jsonl").empty(); ++tries) {
    usleep(50000);
  }
  for (const std::string more : {"", "--resume none"}) {
    expect_error(elastron(0, arguments(run.path(), 4, more)), 2,
                 {"in use by process " + std::to_string(first.process()) + " on ", run.path()});
  }
  EXPECT_TRUE(previous(run.path()).empty());
  first.end();
  const int64_t reached = metrics(run.path()).rbegin()->first;
  EXPECT_EQ(elastron(2, arguments(run.path(), int(reached) + 2)).code, 0);
}

TEST(TwoRuns, WithoutLocksTheUserIsWarned) {
  const Scratch run, report;
  const Outcome o = elastron(0, arguments(run.path(), 1),
                             killed_at("fcntl", 1, "run.lock", report / "report") +
                                 "export FAIL_ERRNO=" + std::to_string(ENOLCK) + ";");
  EXPECT_EQ(o.code, 0) << o.err;
  EXPECT_NE(o.err.find("warning: " + run.path() + ": no lock"), std::string::npos) << o.err;
}

// --- damage
// ------------------------------------------------------------------------------------

TEST_F(OldRun, DamagedLatestIsTold) {
  for (const std::string text : {"nonsense", "step-00000099.h5\n", ""}) {
    write_text(folder_ + "/checkpoints/latest", text);
    const Outcome o = elastron(0, arguments(folder_, 4));
    EXPECT_EQ(o.code, 0) << o.err;
    EXPECT_NE(o.err.find("checkpoints/latest: it "), std::string::npos) << text << o.err;
    EXPECT_NE(o.err.find("nothing to train"), std::string::npos) << o.err;
  }
}

TEST_F(OldRun, DamagedMetricsAreToldAndKept) {
  const std::string file = folder_ + "/metrics.jsonl";
  const size_t second = metrics_.find('\n') + 1;
  const std::string damaged =
      metrics_.substr(0, second) + "{\"step\": tw\n" + metrics_.substr(second);
  write_text(file, damaged);
  const Outcome o = elastron(0, arguments(folder_, 6));
  ASSERT_EQ(o.code, 0) << o.err;
  EXPECT_NE(o.err.find("metrics.jsonl:2: no object with a step"), std::string::npos) << o.err;
  expect_one_run(folder_, 1, 6);
  EXPECT_EQ(read_text(file + ".damaged"), damaged);
}

TEST_F(OldRun, AFolderInAFilesPlaceIsToldBeforeAnyStep) {
  for (const char* name : {"metrics.jsonl", "checkpoints/best", "checkpoints/step-00000006.h5"}) {
    fs::remove(folder_ + "/" + name);
    fs::create_directories(folder_ + "/" + name + "/x");
    const Outcome o = elastron(2, arguments(folder_, 6));
    expect_error(o, 2, {"a folder is in the place of a file", name});
    EXPECT_EQ(o.err.find("step 5/6"), std::string::npos) << o.err;
    fs::remove_all(folder_ + "/" + name);
  }
}

TEST(NotFinite, AllStepsSkippedIsAFailure) {
  const Scratch scratch;
  const std::string model = scratch / "model", weights = model + "/model.safetensors";
  fs::copy(tiny_backbone(), model, fs::copy_options::recursive);
  std::string bytes = read_text(weights);
  // The largest numbers of float32: finite, as weights must be, and what is computed with them is
  // not.
  for (size_t i = bytes.size() - 256; i < bytes.size(); i += 4)
    bytes.replace(i, 4, "\xff\xff\x7f\x7f");
  write_text(weights, bytes);
  // Fewer steps than may be skipped in a row.
  const Outcome o = elastron(
      2, arguments(scratch / "run", 2, "--set train.max_skips=3") + " --set model.path=" + model);
  expect_error(o, 5, {"nothing was trained"});
}

}  // namespace
}  // namespace elastron::test
