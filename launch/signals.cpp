#include "launch/signals.h"

#include <unistd.h>

#include <csignal>
#include <ctime>

#include "core/error.h"

namespace elastron::launch {

namespace {

volatile std::sig_atomic_t stop_signals = 0;

// One request may reach a rank twice: a terminal's INT goes to mpirun, which forwards it, and to
// the whole process group. Only a signal that comes clearly later is a second request.
volatile std::sig_atomic_t first_signal_second = 0;

void on_stop_signal(int) {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);  // async-signal-safe
  if (stop_signals == 0) {
    first_signal_second = static_cast<std::sig_atomic_t>(now.tv_sec);
    stop_signals = 1;
    return;
  }
  if (static_cast<std::sig_atomic_t>(now.tv_sec) - first_signal_second >= 2) {
    _exit(static_cast<int>(ExitCode::communication));
  }
}

}  // namespace

void install_stop_signals() {
  struct sigaction action {};
  action.sa_handler = on_stop_signal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  for (const int signal : {SIGTERM, SIGINT, SIGUSR1}) sigaction(signal, &action, nullptr);
}

bool stop_requested() { return stop_signals != 0; }

}  // namespace elastron::launch
