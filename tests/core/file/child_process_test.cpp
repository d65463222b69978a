#include "core/file/child_process.h"

#include <gtest/gtest.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>

namespace elastron {
namespace {

// What the child says on standard error, and the line that the parent throws.
struct Said {
  std::string by_child, by_parent;
  ExitCode kind = ExitCode::ok;
};

Said said(const std::function<std::string()>& read) {
  Said said;
  testing::internal::CaptureStderr();
  try {
    read_in_child("file.h5", ExitCode::checkpoint, "use another", read);
  } catch (const Error& error) {
    said.by_parent = error.what();
    said.kind = error.kind();
  }
  said.by_child = testing::internal::GetCapturedStderr();
  return said;
}

TEST(ChildProcess, HandsResultsAndErrorsOn) {
  EXPECT_EQ(read_in_child("file.h5", ExitCode::checkpoint, "use another",
                          [] { return std::string("content"); }),
            "content");
  const Said error = said([]() -> std::string { throw InputError("bad", "here", "mend it"); });
  EXPECT_EQ(error.by_parent, "bad (here): mend it");
  EXPECT_EQ(error.kind, ExitCode::input);
}

// One line stays one line: neither the C library nor a handler of crashes adds to it.
TEST(ChildProcess, CrashesWithoutAWordOfItsOwn) {
  const Said heap = said([] {
    std::fputs("a library's complaint\n", stderr);
    void* volatile memory = std::malloc(24);
    std::free(memory);
    std::free(memory);  // "free(): double free detected"
    return std::string();
  });
  EXPECT_EQ(heap.by_child, "");
  EXPECT_NE(heap.by_parent.find("HDF5 crashed on the file"), std::string::npos) << heap.by_parent;
  EXPECT_EQ(heap.by_parent.find('\n'), std::string::npos);
  EXPECT_EQ(heap.kind, ExitCode::checkpoint);

  std::signal(SIGSEGV, [](int signal) {
    std::fputs("a handler's page\n", stderr);
    std::signal(signal, SIG_DFL);
    raise(signal);
  });
  const Said crash = said([] {
    raise(SIGSEGV);
    return std::string();
  });
  std::signal(SIGSEGV, SIG_DFL);
  EXPECT_EQ(crash.by_child, "");
  EXPECT_NE(crash.by_parent.find("HDF5 crashed on the file"), std::string::npos);
}

// A terminal's INT reaches the child, too; whether the parent stops is the parent's to say.
TEST(ChildProcess, KeepsStopSignalsBlocked) {
  sigset_t stop, before;
  sigemptyset(&stop);
  sigaddset(&stop, SIGINT);
  pthread_sigmask(SIG_BLOCK, &stop, &before);
  EXPECT_EQ(read_in_child("file.h5", ExitCode::checkpoint, "use another",
                          [] {
                            raise(SIGINT);
                            return std::string("content");
                          }),
            "content");
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

}  // namespace
}  // namespace elastron
