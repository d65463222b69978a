#include "core/cuda/event.h"

#include "core/cuda/status.h"

namespace elastron::cuda {

Event::Event() {
  check(cudaEventCreateWithFlags(&handle_, cudaEventDisableTiming), "cudaEventCreate");
}
Event::~Event() { cudaEventDestroy(handle_); }

void Event::record(Stream stream) { check(cudaEventRecord(handle_, stream), "cudaEventRecord"); }

void Event::hold_back(Stream stream) const {
  check(cudaStreamWaitEvent(stream, handle_, 0), "cudaStreamWaitEvent");
}

bool Event::passed() const noexcept { return cudaEventQuery(handle_) != cudaErrorNotReady; }

SideStream::SideStream(const CudaDevice& device) {
  use_from_this_thread(device);
  int least = 0, greatest = 0;
  check(cudaDeviceGetStreamPriorityRange(&least, &greatest), "cudaDeviceGetStreamPriorityRange");
  check(cudaStreamCreateWithPriority(&stream_, cudaStreamNonBlocking, greatest),
        "cudaStreamCreateWithPriority");
}
SideStream::~SideStream() { cudaStreamDestroy(stream_); }

void use_from_this_thread(const CudaDevice& device) {
  check(cudaSetDevice(device.ordinal()), "cudaSetDevice");
}

}  // namespace elastron::cuda
