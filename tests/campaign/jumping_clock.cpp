// Preloaded into the program: after JUMP_AFTER questions for the time of day it is JUMP_SECONDS later, or
// earlier, and after as many again it is what it was, and so on. The monotonic clocks go on: no system lets
// them jump.
#include <sys/time.h>

#include <atomic>
#include <cstdlib>
#include <ctime>

#include "tests/launch/preloaded.h"

using elastron::test::next;

namespace {

time_t jump() {
  static const char* const seconds = std::getenv("JUMP_SECONDS");
  static const char* const after = std::getenv("JUMP_AFTER");
  static std::atomic<long> questions{0};
  if (seconds == nullptr || after == nullptr || std::atol(after) < 1) return 0;
  return questions++ / std::atol(after) % 2 == 1 ? std::atol(seconds) : 0;
}

}  // namespace

extern "C" {

int clock_gettime(clockid_t clock, timespec* now) noexcept {
  static const auto real = next<decltype(&::clock_gettime)>("clock_gettime");
  const int code = real(clock, now);
  if (code == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
    now->tv_sec += jump();
  return code;
}
int gettimeofday(timeval* now, void* zone) noexcept {
  static const auto real = next<decltype(&::gettimeofday)>("gettimeofday");
  const int code = real(now, zone);
  if (code == 0) now->tv_sec += jump();
  return code;
}
time_t time(time_t* now) noexcept {
  static const auto real = next<decltype(&::time)>("time");
  const time_t seconds = real(nullptr) + jump();
  if (now != nullptr) *now = seconds;
  return seconds;
}

}  // extern "C"
