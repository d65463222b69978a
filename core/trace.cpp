#include "core/trace.h"

#include <cstdio>

#if ELASTRON_WITH_NVTX
#include <nvtx3/nvToolsExt.h>
#endif

namespace elastron {

#if ELASTRON_WITH_NVTX
TraceRange::TraceRange(const char* name) { nvtxRangePushA(name); }
TraceRange::TraceRange(const char* name, int64_t number) {
  char text[64];
  std::snprintf(text, sizeof text, "%s %lld", name, static_cast<long long>(number));
  nvtxRangePushA(text);
}
TraceRange::~TraceRange() { nvtxRangePop(); }
#else
TraceRange::TraceRange(const char*) {}
TraceRange::TraceRange(const char*, int64_t) {}
TraceRange::~TraceRange() {}
#endif

}  // namespace elastron
