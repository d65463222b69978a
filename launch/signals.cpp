#include "launch/signals.h"

#include <poll.h>
#include <pthread.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstring>
#include <ctime>
#include <memory>
#include <thread>

#include "core/error.h"
#include "launch/starter.h"

namespace elastron::launch {

namespace {

// One request may reach a rank twice: a terminal's INT goes to mpirun, which forwards it, and to
// the whole process group. Only a signal that comes clearly later is a second request.
constexpr int64_t kSecondRequestNs = 2'000'000'000;
constexpr int kRepeatable = SIGUSR2;

std::atomic<bool> requested{false}, only_noted{false};

int64_t now_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

// The life of the thread that takes the signals. It must not touch what exit() destroys.
class Taker {
 public:
  explicit Taker(int signals) {
    files_[0] = {signals, POLLIN, 0};
    files_[1] = {open_starter(), POLLIN, 0};
  }

  [[noreturn]] void run() {
    while (true) {
      if (poll(files_.data(), files_.size(), -1) < 0) continue;
      if (files_[0].revents != 0) take_signal();
      if (starter_is_gone()) request(false);
    }
  }

 private:
  // Said once.
  bool starter_is_gone() {
    pollfd& starter = files_[1];
    if (starter.fd < 0 || starter.revents == 0) return false;
    close(starter.fd);
    starter.fd = -1;
    return true;
  }

  void take_signal() {
    signalfd_siginfo info{};
    if (read(files_[0].fd, &info, sizeof info) == ssize_t(sizeof info)) {
      request(int(info.ssi_signo) != kRepeatable);
    }
  }

  void request(bool counts) {
    requested = true;
    if (!only_noted) _exit(int(ExitCode::stopped));
    const int64_t now = now_ns();
    if (first_ns_ == 0) {
      first_ns_ = now;
    } else if (counts && now - first_ns_ >= kSecondRequestNs) {
      _exit(int(ExitCode::communication));
    }
  }

  std::array<pollfd, 2> files_{};  // poll skips those below zero
  int64_t first_ns_ = 0;
};

// A stack for signals that the calling thread has until it ends.
class SignalStack {
 public:
  SignalStack() {
    stack_t now{};
    if (sigaltstack(nullptr, &now) != 0 || (now.ss_flags & SS_DISABLE) == 0) return;
    const size_t bytes = size_t(64) * 1024 + size_t(sysconf(_SC_SIGSTKSZ));
    memory_ = std::make_unique<std::byte[]>(bytes);
    stack_t stack{};
    stack.ss_sp = memory_.get();
    stack.ss_size = bytes;
    sigaltstack(&stack, nullptr);
  }
  ~SignalStack() {
    if (!memory_) return;
    stack_t none{};
    none.ss_flags = SS_DISABLE;
    sigaltstack(&none, nullptr);
  }
  SignalStack(const SignalStack&) = delete;
  SignalStack& operator=(const SignalStack&) = delete;

 private:
  std::unique_ptr<std::byte[]> memory_;  // empty where the thread has a stack of somebody else's
};

}  // namespace

void take_stop_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGUSR1, kRepeatable}) {
    struct sigaction before {};
    sigaction(signal, nullptr, &before);
    // nohup's way to say that HUP is not meant. INT, shells ignore for whatever is in the
    // background, and that is how elastron-run starts its ranks.
    if (signal == SIGHUP && before.sa_handler == SIG_IGN) continue;
    std::signal(signal, SIG_DFL);  // blocked it kills nobody; ignored it might not come
    sigaddset(&set, signal);
  }
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  const int signals = signalfd(-1, &set, SFD_CLOEXEC);
  if (signals < 0) {
    throw UsageError(std::string("cannot listen for signals: ") + std::strerror(errno), "start",
                     "raise the limit of open files (ulimit -n)");
  }
  std::thread([signals] { Taker(signals).run(); }).detach();
}

void on_stop_request(OnStop what) {
  only_noted = what == OnStop::note;
  if (!only_noted && requested) _exit(int(ExitCode::stopped));
}

bool stop_requested() { return requested; }

void give_signal_stacks() {
#pragma omp parallel
  {
    static thread_local const SignalStack stack;
    static_cast<void>(stack);
  }
}

}  // namespace elastron::launch
