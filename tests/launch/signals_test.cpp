// Signals that come while a run computes, evaluates and saves change nothing but when it ends. With
// oneDNN's kernels for AVX2, as they are on most machines: they keep data where a handler's frame
// would be.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <thread>

#include "tests/launch/program.h"

namespace elastron::test {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using std::chrono::microseconds, std::chrono::milliseconds;

// The program in a process of its own; its output goes to a file.
class Running {
 public:
  Running(const std::string& arguments, const std::string& log) : log_(log) {
    const std::string line = for_shell("exec " ELASTRON_PROGRAM " " + arguments);
    const std::array<const char*, 4> argv = {"sh", "-c", line.c_str(), nullptr};
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 1, log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    posix_spawn_file_actions_adddup2(&files, 1, 2);
    EXPECT_EQ(posix_spawn(&process_, "/bin/sh", &files, nullptr,
                          const_cast<char* const*>(argv.data()), environ),
              0);
    posix_spawn_file_actions_destroy(&files);
  }

  bool ended() {
    if (code_ < 0) {
      int status = 0;
      if (waitpid(process_, &status, WNOHANG) == process_) note(status);
    }
    return code_ >= 0;
  }
  void send(int signal) { kill(process_, signal); }
  // Until it takes stop signals.
  void wait_until_listening() {
    const std::string file = "/proc/" + std::to_string(process_) + "/status";
    while (!ended() && read_text(file).find("SigBlk:\t0000000000000000") != std::string::npos) {
      std::this_thread::sleep_for(milliseconds(5));
    }
  }
  // Until the log holds the text, or the process has ended.
  void wait_for(const std::string& text) {
    while (!ended() && log().find(text) == std::string::npos) {
      std::this_thread::sleep_for(milliseconds(5));
    }
  }
  int wait() {
    while (!ended()) std::this_thread::sleep_for(milliseconds(5));
    return code_;
  }
  std::string log() const { return read_text(log_); }
  std::string tasks() const { return "/proc/" + std::to_string(process_) + "/task"; }

 private:
  void note(int status) {
    code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

  std::string log_;
  pid_t process_ = -1;
  int code_ = -1;
};

std::string training(const std::string& folder) {
  const std::string source = ELASTRON_SOURCE_DIR;
  return "train " + source + "/configs/tiny/router.yaml --set model.path=" + source +
         "/configs/tiny/backbone --set output.dir=" + folder +
         " --set train.steps=6 --set train.global_batch=4 --set checkpoint.every=1"
         " --set eval.every=1 --set data.synthetic.eval_per_kind=1";
}

// A command that has nothing to save ends at once, and leaves no half-written file.
TEST(Signals, EndCommandsWithoutAnythingToSave) {
  const Scratch s;
  const std::string source = ELASTRON_SOURCE_DIR, log = s / "log", out = s / "out";
  const std::string model = source + "/configs/tiny/backbone";
  const std::string records = s / "records.jsonl";
  ASSERT_EQ(elastron(0, "synthesize --records 20000 --out " + records).code, 0);
  const std::vector<std::string> commands = {
      "eval " + source + "/configs/tiny/router.yaml --set router.force=full --set model.path=" +
          model + " --set data.synthetic.eval_per_kind=5000 --out " + out,
      "synthesize --records 5000000 --out " + out,
      "pack --max-tokens 1100 --min-tokens 1 --threads 1 --model " + model + " --in " + records +
          " --out " + out};
  for (const std::string& command : commands) {
    for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGUSR1}) {
      Running run(command, log);
      run.wait_until_listening();
      std::this_thread::sleep_for(milliseconds(300));
      ASSERT_FALSE(run.ended()) << run.log();
      run.send(signal);
      EXPECT_EQ(run.wait(), 75) << command << "\n" << run.log();
      EXPECT_FALSE(fs::exists(out)) << command;
    }
  }
}

// Which threads have it blocked that a run has when it trains.
TEST(Signals, AreBlockedInEveryThread) {
  const Scratch s;
  Running run(training(s / "run") + " --set train.steps=100000 --set eval.every=0", s / "log");
  run.wait_for("memory:");
  ASSERT_FALSE(run.ended()) << run.log();
  int threads = 0;
  for (const auto& task : fs::directory_iterator(run.tasks())) {
    const std::string status = read_text(task.path().string() + "/status"), key = "SigBlk:\t";
    const uint64_t blocked =
        std::stoull(status.substr(status.find(key) + key.size(), 16), nullptr, 16);
    for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2}) {
      EXPECT_TRUE(blocked >> (signal - 1) & 1) << status << "\nsignal " << signal;
    }
    ++threads;
  }
  // The first, who takes signals, the watchdog's and who makes packs.
  EXPECT_GE(threads, 4);
  run.send(SIGTERM);
  EXPECT_EQ(run.wait(), 75) << run.log();
}

TEST(Signals, TenThousandDuringStepsEvaluationsAndSaves) {
  const int kSignals = 10'000;
  setenv("ONEDNN_MAX_CPU_ISA", "AVX2", 1);
  std::mt19937 random(19);
  int sent = 0, stops = 0;
  for (int threads = 1; threads <= 3; ++threads) {
    setenv("OMP_NUM_THREADS", std::to_string(threads).c_str(), 1);
    const Scratch s;
    const std::string folder = s / "run", log = s / "log";
    ASSERT_EQ(Running(training(folder), log).wait(), 0) << read_text(log);
    const auto expected = contents(folder);
    const auto figures = metrics(folder);
    // Again and again until there were enough, and then to the end.
    for (bool enough = false; !enough;) {
      fs::remove_all(folder);
      int code = 75;
      while (code == 75) {
        Running run(training(folder), log);
        run.wait_for("memory:");
        std::this_thread::sleep_for(milliseconds(random() % 300));
        enough = sent >= kSignals / 3 * threads;
        const auto begin = Clock::now();
        bool burst = false;
        // Within the time in which signals are one request.
        while (!enough && !run.ended() && Clock::now() - begin < milliseconds(1500)) {
          run.send(SIGUSR1);
          burst = true;
          ++sent;
          std::this_thread::sleep_for(microseconds(random() % 1000));
        }
        code = run.wait();
        ASSERT_TRUE(code == 0 || code == 75) << "exit code " << code << "\n" << run.log();
        if (!burst) {
          EXPECT_EQ(code, 0) << run.log();
        }
        if (code == 75) {
          ++stops;
          EXPECT_NE(run.log().find("stopped on request"), std::string::npos) << run.log();
        }
        if (metrics(folder).contains(6)) break;
      }
      EXPECT_EQ(contents(folder), expected) << threads << " threads";
      const auto found = metrics(folder);
      ASSERT_EQ(found.size(), figures.size());
      for (const auto& [step, values] : figures) {
        for (const char* key : {"loss", "sparsity_loss", "msr", "grad_norm"}) {
          EXPECT_EQ(found.at(step)[key], values[key]) << "step " << step << " " << key;
        }
      }
    }
  }
  RecordProperty("signals", sent);
  RecordProperty("stops", stops);
  unsetenv("ONEDNN_MAX_CPU_ISA");
  setenv("OMP_NUM_THREADS", "1", 1);
}

}  // namespace
}  // namespace elastron::test
