#include "parallel/launcher.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdio>
#include <string_view>

namespace elastron::parallel {

namespace {

// A handle of the process, which no later process with the same id can be mistaken for; or -1.
int open_process(pid_t id) { return int(syscall(SYS_pidfd_open, id, 0)); }

bool is_launcher(pid_t id) {
  std::array<char, 32> path{}, name{};
  std::snprintf(path.data(), path.size(), "/proc/%d/comm", int(id));
  const int file = open(path.data(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return false;
  const ssize_t size = read(file, name.data(), name.size());
  close(file);
  const std::string_view text(name.data(), size > 0 ? size_t(size) : 0);
  return text == "mpirun\n" || text == "mpiexec\n" || text == "orterun\n" || text == "orted\n";
}

}  // namespace

void end_launcher_if_it_hangs(std::chrono::seconds patience) noexcept {
  const pid_t parent = getppid();
  const int launcher = open_process(parent);
  if (launcher < 0) return;
  // Only what is safe after a fork of a process with threads.
  if (!is_launcher(parent) || getppid() != parent || fork() != 0) {
    close(launcher);
    return;
  }
  setsid();  // the launcher kills its ranks' process groups
  // The launcher waits until nobody holds a rank's ends of its pipes and sockets.
  if (launcher > 0) syscall(SYS_close_range, 0, launcher - 1, 0);
  syscall(SYS_close_range, launcher + 1, ~0u, 0);
  pollfd ended{launcher, POLLIN, 0};
  if (poll(&ended, 1, int(std::chrono::milliseconds(patience).count())) == 0) {
    syscall(SYS_pidfd_send_signal, launcher, SIGKILL, nullptr, 0);
  }
  _exit(0);
}

}  // namespace elastron::parallel
