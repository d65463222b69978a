// Order between streams: events, and a second stream for work that overlaps a device's own.
#pragma once
#include "core/cuda/device.h"

struct CUevent_st;

namespace elastron::cuda {

class Event {
 public:
  Event();
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  // Marks the point that `stream` has been given work up to now.
  void record(Stream stream);
  // What is issued on `stream` from now on runs after the recorded point. The host does not wait.
  void hold_back(Stream stream) const;
  // The recorded point was passed, or the device has failed, which whoever waits for it will see.
  // From any thread; never blocks.
  bool passed() const noexcept;

 private:
  CUevent_st* handle_ = nullptr;
};

// Its kernels go before those of the device's own stream, where both have some to run.
class SideStream {
 public:
  explicit SideStream(const CudaDevice& device);
  ~SideStream();
  SideStream(const SideStream&) = delete;
  SideStream& operator=(const SideStream&) = delete;
  Stream get() const { return stream_; }

 private:
  Stream stream_ = nullptr;
};

// A thread other than the one that made the device calls this first: calls without a device of
// their own would otherwise wake up GPU 0.
void use_from_this_thread(const CudaDevice& device);

}  // namespace elastron::cuda
