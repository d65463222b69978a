// Named ranges in a profiler's timeline (NVTX: Nsight Systems). Without a profiler they cost a few
// nanoseconds; without CUDA in the build, nothing.
#pragma once
#include <cstdint>

namespace elastron {

class TraceRange {
 public:
  explicit TraceRange(const char* name);
  TraceRange(const char* name, int64_t number);  // "layer 3"
  ~TraceRange();
  TraceRange(const TraceRange&) = delete;
  TraceRange& operator=(const TraceRange&) = delete;
};

}  // namespace elastron
