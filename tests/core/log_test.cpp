#include "core/log.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <thread>
#include <vector>

#include "core/error.h"
#include "tests/support/scratch.h"

namespace elastron {
namespace {

const char kTime[] = R"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d )";

std::string read(const std::filesystem::path& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

class LogTest : public ::testing::Test {
 protected:
  // What `body` prints on stderr while a Log with these options is alive.
  template <class F>
  std::string stderr_of(LogOptions options, F&& body) {
    ::testing::internal::CaptureStderr();
    {
      Log log(options);
      body(log);
    }
    return ::testing::internal::GetCapturedStderr();
  }

  const test::Scratch scratch_;
  const std::string file_ = scratch_ / "log.txt";
};

TEST_F(LogTest, RankZeroSpeaksPlainly) {
  const std::string text = stderr_of({.rank = 0}, [](Log&) {
    log_info("step {}/{}", 3, 10);
    log_warning("slow {}", "disk");
    log_info("two\nlines");
  });
  EXPECT_TRUE(std::regex_match(text, std::regex(std::string(kTime) + "step 3/10\n" + kTime +
                                                "warning: slow disk\n" + kTime + "two lines\n")))
      << text;
}

TEST_F(LogTest, OtherRanksSpeakWhenAsked) {
  EXPECT_EQ(stderr_of({.rank = 3}, [](Log&) { log_warning("x"); }), "");
  const std::string text =
      stderr_of({.rank = 3, .all_ranks = true}, [](Log&) { log_warning("x"); });
  EXPECT_TRUE(std::regex_match(text, std::regex(std::string(kTime) + R"(\[rank 3\] warning: x\n)")))
      << text;
}

TEST_F(LogTest, FileGetsTheSameLinesAppended) {
  std::string all;
  for (int run = 0; run < 2; ++run) {
    const std::string text = stderr_of({.rank = 0}, [&](Log& log) {
      log_info("before the file is known");
      log.write_to(file_);
      log_info("run {}", run);
    });
    EXPECT_NE(text.find("run " + std::to_string(run)), std::string::npos);
    all += text;
  }
  EXPECT_EQ(read(file_), all);
  stderr_of({.rank = 1}, [&](Log& log) {
    log.write_to(file_);
    log_info("silent");
  });
  EXPECT_EQ(read(file_), all);
}

TEST_F(LogTest, UnwritableFileIsAnErrorForPeople) {
  stderr_of({.rank = 0},
            [](Log& log) { EXPECT_THROW(log.write_to("/dev/null/log.txt"), UsageError); });
}

TEST_F(LogTest, FullDiskDoesNotStopTheRun) {
  const std::string text = stderr_of({.rank = 0}, [](Log& log) {
    log.write_to("/dev/full");
    log_info("one");
    log_info("two");
  });
  EXPECT_NE(text.find("warning: the log file is no longer written: No space left"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("two"), std::string::npos);
  EXPECT_EQ(text.find("no longer", text.find("no longer") + 1), std::string::npos) << "said twice";
}

TEST_F(LogTest, LinesOfThreadsDoNotMix) {
  const std::string text = stderr_of({.rank = 0}, [](Log&) {
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([t] {
        for (int i = 0; i < 100; ++i) log_info("thread {} line {}", t, i);
      });
    }
    for (std::thread& thread : threads) thread.join();
  });
  const std::regex line(std::string(kTime) + R"(thread \d line \d+)");
  int lines = 0;
  for (size_t begin = 0; begin < text.size(); ++lines) {
    const size_t end = text.find('\n', begin);
    ASSERT_NE(end, std::string::npos);
    ASSERT_TRUE(std::regex_match(text.substr(begin, end - begin), line)) << text.substr(begin, 80);
    begin = end + 1;
  }
  EXPECT_EQ(lines, 400);
}

}  // namespace
}  // namespace elastron
