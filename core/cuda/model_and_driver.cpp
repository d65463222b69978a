#include "core/cuda/model_and_driver.h"

#include <cuda_runtime.h>
#include <fmt/format.h>

#include <fstream>

#include "core/cuda/status.h"

namespace elastron::cuda {

std::string model_and_driver(const CudaDevice& device) {
  cudaDeviceProp properties{};
  int interface = 0;
  check(cudaGetDeviceProperties(&properties, device.ordinal()), "cudaGetDeviceProperties");
  check(cudaDriverGetVersion(&interface), "cudaDriverGetVersion");
  std::string driver = "unknown";  // in a container without the file; its interface is known
  std::ifstream("/sys/module/nvidia/version") >> driver;
  return fmt::format("{}, sm_{}{}, driver {}, CUDA {}.{}", properties.name, properties.major,
                     properties.minor, driver, interface / 1000, interface % 1000 / 10);
}

}  // namespace elastron::cuda
