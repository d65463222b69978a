#include "core/trace.h"

#include <cstdio>

#if ELASTRON_WITH_NVTX
#include <nvtx3/nvToolsExt.h>
#endif

namespace elastron {

namespace {

thread_local const TraceRange* current = nullptr;
thread_local uint64_t entered = 0;

}  // namespace

void TraceRange::enter() {
  outer_ = current;
  serial_ = ++entered;
  current = this;
}

#if ELASTRON_WITH_NVTX
TraceRange::TraceRange(const char* name) : name_(name) {
  enter();
  nvtxRangePushA(name);
}
TraceRange::TraceRange(const char* name, int64_t number) : name_(name) {
  enter();
  char text[64];
  std::snprintf(text, sizeof text, "%s %lld", name, static_cast<long long>(number));
  nvtxRangePushA(text);
}
TraceRange::~TraceRange() {
  nvtxRangePop();
  current = outer_;
}
#else
TraceRange::TraceRange(const char* name) : name_(name) { enter(); }
TraceRange::TraceRange(const char* name, int64_t) : name_(name) { enter(); }
TraceRange::~TraceRange() { current = outer_; }
#endif

const TraceRange* TraceRange::innermost() { return current; }

std::string trace_path() {
  std::string path;
  for (const TraceRange* r = TraceRange::innermost(); r != nullptr; r = r->outer()) {
    path = path.empty() ? std::string(r->name()) : r->name() + ("/" + path);
  }
  return path;
}

}  // namespace elastron
