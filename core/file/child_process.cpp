#include "core/file/child_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <exception>
#include <fstream>
#include <new>

namespace elastron {

namespace {

constexpr rlim_t kMostSeconds = 300;            // of processor time: 1 TB of checksums
constexpr rlim_t kMostBytes = rlim_t(2) << 30;  // beyond what the process has mapped already

void limit(int resource, rlim_t most) {
  const rlimit both{most, most};
  setrlimit(__rlimit_resource(resource), &both);
}

void limit_this_process() {
  limit(RLIMIT_CPU, kMostSeconds);
  limit(RLIMIT_CORE, 0);
  limit(RLIMIT_FSIZE, 0);
#if !defined(__SANITIZE_ADDRESS__)  // which maps terabytes
  uint64_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  limit(RLIMIT_AS, rlim_t(pages) * rlim_t(sysconf(_SC_PAGESIZE)) + kMostBytes);
#endif
}

// The parent says in one line what became of its child. A C library that finds its heap damaged, or
// MPI's handlers of crashes, would say it in many.
void be_silent() {
  const int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
  if (nowhere < 0) return;
  dup2(nowhere, STDOUT_FILENO);
  dup2(nowhere, STDERR_FILENO);
  close(nowhere);
}

void write_all(int pipe, const std::string& text) {
  for (size_t at = 0; at < text.size();) {
    const ssize_t n = write(pipe, text.data() + at, text.size() - at);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return;
    at += size_t(n);
  }
}

std::string read_all(int pipe) {
  std::string text;
  char buffer[4096];
  while (true) {
    const ssize_t n = read(pipe, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return text;
    text.append(buffer, size_t(n));
  }
}

// The child's whole life. -> one character for the exit code, then the text.
std::string answer(const std::string& path, ExitCode kind, const std::string& remedy,
                   const std::function<std::string()>& read) {
  const auto failed = [&](const Error& error) {
    return char('0' + int(error.kind())) + std::string(error.what());
  };
  try {
    limit_this_process();
    return "0" + read();
  } catch (const Error& error) {
    return failed(error);
  } catch (const std::bad_alloc&) {
    return failed(Error(kind, "the file asks for too much memory", path, remedy));
  } catch (const std::exception& error) {
    return failed(Error(kind, std::string("cannot read the file: ") + error.what(), path, remedy));
  }
}

}  // namespace

std::string read_in_child(const std::string& path, ExitCode kind, const std::string& remedy,
                          const std::function<std::string()>& read) {
  int ends[2];
  if (pipe(ends) != 0) {
    throw Error(kind, std::string("cannot make a pipe: ") + std::strerror(errno), path,
                "close files or raise the limit");
  }
  const pid_t parent = getpid(), child = fork();
  if (child == 0) {
    // Stop signals stay blocked: they are the parent's business, and so is this process.
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    close(ends[0]);
    be_silent();
    write_all(ends[1], answer(path, kind, remedy, read));
    _exit(0);
  }
  const int fork_error = errno;
  close(ends[1]);
  if (child < 0) {
    close(ends[0]);
    throw Error(kind, std::string("cannot start a process: ") + std::strerror(fork_error), path,
                "free memory or processes");
  }
  const std::string text = read_all(ends[0]);
  close(ends[0]);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFSIGNALED(status)) {
    const int signal = WTERMSIG(status);
    const bool time = signal == SIGXCPU || signal == SIGKILL;
    throw Error(kind,
                time ? "reading the file took too long"
                     : fmt::format("HDF5 crashed on the file (signal {})", signal),
                path, remedy);
  }
  if (text.empty() || WEXITSTATUS(status) != 0) {
    throw Error(kind, "HDF5 crashed on the file", path, remedy);
  }
  if (text[0] != '0') throw Error(ExitCode(text[0] - '0'), text.substr(1));
  return text.substr(1);
}

}  // namespace elastron
