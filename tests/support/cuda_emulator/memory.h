// For stand-ins of libraries: access to the emulated device's memory from the host, and streams
// that stop.
#pragma once

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

// From now on nothing that is issued on the stream ends.
void stall(CUstream_st* stream);
bool is_stalled(CUstream_st* stream);

}  // namespace elastron::emulator
