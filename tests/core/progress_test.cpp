// Progress of long commands: a live line on a terminal, a line now and then elsewhere. The clock is
// the test's own.
#include "core/progress.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <string>

namespace elastron {
namespace {

class ProgressText : public ::testing::Test {
 protected:
  ProgressOptions options(bool terminal, int columns = 80) {
    return {.to = to_.get(), .terminal = terminal, .columns = columns, .seconds = [this] {
              return now_;
            }};
  }
  // What was written since the last call.
  std::string written() {
    std::fflush(to_.get());
    const std::string all(text_, size_);
    const std::string since = all.substr(seen_);
    seen_ = all.size();
    return since;
  }

  char* text_ = nullptr;
  size_t size_ = 0, seen_ = 0;
  double now_ = 1000;
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> to_{open_memstream(&text_, &size_), &std::fclose};

  void TearDown() override {
    to_.reset();
    std::free(text_);
  }
};

TEST_F(ProgressText, ALiveLineOnATerminal) {
  {
    Progress progress(options(true));
    progress.show("packing", 0, 200, "0 documents");
    EXPECT_EQ(written(), "\rpacking   0.0 % | 0 documents\033[K");
    now_ += 0.4;  // too soon
    progress.show("packing", 10, 200, "10 documents");
    EXPECT_EQ(written(), "");
    now_ += 9.6;  // a quarter in ten seconds
    progress.show("packing", 50, 200, "50 documents");
    EXPECT_EQ(written(), "\rpacking  25.0 % | 50 documents | eta 0:00:30\033[K");
    // Another kind of work: shown at once, with an estimate of its own.
    progress.show("writing", 0, 10);
    EXPECT_EQ(written(), "\rwriting   0.0 %\033[K");
    now_ += 4000;
    progress.show("writing", 5, 10);
    EXPECT_EQ(written(), "\rwriting  50.0 % | eta 1:06:40\033[K");
  }
  EXPECT_EQ(written(), "\r\033[K");  // cleared, and only once
}

TEST_F(ProgressText, ALineNowAndThenElsewhere) {
  {
    Progress progress(options(false));
    for (int i = 0; i < 29; ++i) {
      progress.show("packing", uint64_t(i), 100);
      now_ += 1;
    }
    EXPECT_EQ(written(), "");  // a short command says nothing
    now_ += 1;
    progress.show("packing", 30, 100);
    EXPECT_EQ(written(), "packing  30.0 % | eta 0:01:10\n");
    now_ += 29;
    progress.show("packing", 50, 100);
    EXPECT_EQ(written(), "");
  }
  EXPECT_EQ(written(), "");
}

TEST_F(ProgressText, FitsTheTerminal) {
  Progress progress(options(true, 20));
  progress.show("packing", 0, 10, std::string(100, 'x'));
  EXPECT_EQ(written(), "\rpacking   0.0 % | x\033[K");
}

TEST_F(ProgressText, MakesWayForOtherLines) {
  Progress progress(options(true));
  clear_progress();
  EXPECT_EQ(written(), "");
  progress.show("packing", 0, 10);
  written();
  clear_progress();
  EXPECT_EQ(written(), "\r\033[K");
  clear_progress();
  EXPECT_EQ(written(), "");
}

TEST_F(ProgressText, NothingToDoIsNoDivision) {
  Progress progress(options(true));
  progress.show("packing", 0, 0);
  EXPECT_EQ(written(), "\rpacking   0.0 %\033[K");
}

TEST(Duration, InWords) {
  EXPECT_EQ(duration_text(0), "0:00:00");
  EXPECT_EQ(duration_text(59.9), "0:00:59");
  EXPECT_EQ(duration_text(3723), "1:02:03");
  EXPECT_EQ(duration_text(360000), "100:00:00");
  EXPECT_EQ(duration_text(-1), "0:00:00");
  EXPECT_EQ(duration_text(1e300), "1000000:00:00");
}

}  // namespace
}  // namespace elastron
