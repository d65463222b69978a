// Time that the calling thread has computed: what other programs on the machine do does not count.
#pragma once
#include <ctime>

namespace elastron::test {

inline double cpu_seconds() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return double(t.tv_sec) + 1e-9 * double(t.tv_nsec);
}

}  // namespace elastron::test
