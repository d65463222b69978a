#include "core/cuda/gpus.h"

#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include "core/cuda/status.h"

namespace elastron::cuda {

std::string gpu_uuid(int ordinal) {
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, ordinal), "cudaGetDeviceProperties");
  std::string text;
  for (const char byte : properties.uuid.bytes) text += fmt::format("{:02x}", uint8_t(byte));
  return text;
}

std::string gpu_pci_address(int ordinal) {
  char text[32] = "";
  if (cudaDeviceGetPCIBusId(text, int(sizeof text), ordinal) != cudaSuccess) {
    static_cast<void>(cudaGetLastError());  // forget it
    return "";
  }
  std::string address = text;
  for (char& c : address) c = c >= 'A' && c <= 'F' ? char(c - 'A' + 'a') : c;
  return address;
}

}  // namespace elastron::cuda
