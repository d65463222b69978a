#include "parallel/pending.h"

#include <cstdio>
#include <exception>

namespace elastron::parallel {

Pending::~Pending() {
  if (!finish_) return;
  if (std::uncaught_exceptions() > exceptions_) {
    // The transfer may still be writing: its buffers are given up rather than reused. The process
    // is on its way to MPI_Abort.
    new std::function<void()>(std::move(finish_));
    return;
  }
  std::fputs("a collective was started and never waited for\n", stderr);
  std::terminate();
}

}  // namespace elastron::parallel
