// For stand-ins of libraries and tests: access to the emulated device's memory from the host, what
// it was asked for, and streams that stop.
#pragma once
#include <cstdint>

struct CUstream_st;

namespace elastron::emulator {

// While one lives, device memory can be read and written.
class DeviceMemoryOpen {
 public:
  DeviceMemoryOpen();
  ~DeviceMemoryOpen();
  DeviceMemoryOpen(const DeviceMemoryOpen&) = delete;
  DeviceMemoryOpen& operator=(const DeviceMemoryOpen&) = delete;
};

// What the host asked of the device so far: kernels and library calls, transfers (with clearing),
// and waits for a transfer to the host or for a stream.
struct Calls {
  int64_t launches = 0, copies = 0, host_waits = 0;
  int64_t plans = 0;  // of attention, that a library would have compiled
};
Calls& calls();

// Whether the library for full attention has a backward pass: true unless a test says otherwise.
bool& library_has_gradients();

// From now on nothing that is issued on the stream ends.
void stall(CUstream_st* stream);
bool is_stalled(CUstream_st* stream);
// What the stalled streams wait for was ended from outside.
void resume_streams();

}  // namespace elastron::emulator
