#include <gtest/gtest.h>
#include <omp.h>
#include <pthread.h>

#include <csignal>
#include <cstdint>

#include "launch/signals.h"

namespace elastron::launch {
namespace {

thread_local volatile uintptr_t handler_frame = 0;

// Whether a handler of this thread runs on another stack than the thread's own.
bool handlers_run_beside_the_stack() {
  pthread_attr_t attributes;
  void* stack = nullptr;
  size_t bytes = 0;
  if (pthread_getattr_np(pthread_self(), &attributes) != 0) return false;
  pthread_attr_getstack(&attributes, &stack, &bytes);
  pthread_attr_destroy(&attributes);
  handler_frame = 0;
  pthread_kill(pthread_self(), SIGPROF);
  const uintptr_t begin = reinterpret_cast<uintptr_t>(stack);
  return handler_frame != 0 && (handler_frame < begin || handler_frame >= begin + bytes);
}

TEST(SignalStacks, OfTheMainThreadAndTheWorkers) {
  omp_set_num_threads(3);
  struct sigaction action {};
  action.sa_handler = [](int) {
    handler_frame = reinterpret_cast<uintptr_t>(__builtin_frame_address(0));
  };
  action.sa_flags = SA_ONSTACK;
  sigaction(SIGPROF, &action, nullptr);
  give_signal_stacks();
  for (int round = 0; round < 2; ++round) {
    int threads = 0, beside = 0;
#pragma omp parallel reduction(+ : threads, beside)
    {
      ++threads;
      beside += handlers_run_beside_the_stack() ? 1 : 0;
    }
    EXPECT_EQ(threads, 3);
    EXPECT_EQ(beside, 3);
    give_signal_stacks();  // once more does no harm
  }
  std::signal(SIGPROF, SIG_DFL);
}

}  // namespace
}  // namespace elastron::launch
