// Access to the emulated device's memory from the host, for stand-ins of libraries.
#pragma once

namespace elastron::emulator {

// While one lives, device memory can be read and written.
class DeviceMemoryOpen {
 public:
  DeviceMemoryOpen();
  ~DeviceMemoryOpen();
  DeviceMemoryOpen(const DeviceMemoryOpen&) = delete;
  DeviceMemoryOpen& operator=(const DeviceMemoryOpen&) = delete;
};

}  // namespace elastron::emulator
