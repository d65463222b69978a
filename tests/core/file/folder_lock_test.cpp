#include "core/file/folder_lock.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>

#include "core/error.h"
#include "tests/support/scratch.h"

namespace elastron {
namespace {

class FolderLockTest : public ::testing::Test {
 protected:
  // In a process that then waits to be killed; with `child`, one of its own does so as well. ->
  // once it has the lock.
  pid_t holder(bool child = false, pid_t* grandchild = nullptr) {
    int ends[2];
    EXPECT_EQ(pipe(ends), 0);
    const pid_t process = fork();
    if (process == 0) {
      const FolderLock lock(folder_);
      const pid_t own = child ? fork() : -1;
      if (own != 0) {
        const ssize_t n = write(ends[1], &own, sizeof own);
        (void)n;
      }
      while (true) pause();
    }
    pid_t told = 0;
    EXPECT_EQ(read(ends[0], &told, sizeof told), ssize_t(sizeof told));
    if (grandchild != nullptr) *grandchild = told;
    close(ends[0]);
    close(ends[1]);
    return process;
  }
  static void end(pid_t process) {
    kill(process, SIGKILL);
    waitpid(process, nullptr, 0);
  }

  const test::Scratch scratch_;
  const std::string& folder_ = scratch_.path();
};

TEST_F(FolderLockTest, TheSecondIsToldWhoHasIt) {
  const pid_t first = holder();
  try {
    const FolderLock second(folder_);
    ADD_FAILURE() << "two have it";
  } catch (const UsageError& error) {
    const std::string line = error.what();
    EXPECT_NE(line.find("in use by process " + std::to_string(first) + " on "), line.npos) << line;
    EXPECT_NE(line.find(folder_), line.npos) << line;
  }
  end(first);
  EXPECT_NO_THROW(FolderLock{folder_});
  EXPECT_NO_THROW(FolderLock{folder_});  // given back
}

TEST_F(FolderLockTest, DiesWithItsProcessThoughForkedChildrenLive) {
  pid_t grandchild = -1;
  const pid_t first = holder(true, &grandchild);
  end(first);
  EXPECT_NO_THROW(FolderLock{folder_});
  kill(grandchild, SIGKILL);
}

TEST_F(FolderLockTest, AFolderThatCannotBeLocked) {
  EXPECT_THROW(FolderLock{folder_ + "/none"}, UsageError);
  std::filesystem::create_directory(folder_ + "/run.lock");
  EXPECT_THROW(FolderLock{folder_}, UsageError);
}

}  // namespace
}  // namespace elastron
