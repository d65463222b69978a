// Named ranges of the work that a thread is doing. A profiler shows them in its timeline (NVTX:
// Nsight Systems); a meta device and a recording communicator sort by them what they write down.
// Without any of these a range costs a few nanoseconds.
#pragma once
#include <cstdint>
#include <string>

namespace elastron {

class TraceRange {
 public:
  // `name` must outlive the range: a literal.
  explicit TraceRange(const char* name);
  TraceRange(const char* name, int64_t number);  // a profiler shows "layer 3"
  ~TraceRange();
  TraceRange(const TraceRange&) = delete;
  TraceRange& operator=(const TraceRange&) = delete;

  // The range that the calling thread is in, and those around it; null outside of all.
  static const TraceRange* innermost();
  const TraceRange* outer() const { return outer_; }
  const char* name() const { return name_; }
  // Tells ranges of one thread apart that have the same name and place. Never 0.
  uint64_t serial() const { return serial_; }

 private:
  void enter();

  const char* name_;
  const TraceRange* outer_ = nullptr;
  uint64_t serial_ = 0;
};

// "micro batch/layer/MLP": the names of the calling thread's ranges, the outermost first.
std::string trace_path();

}  // namespace elastron
