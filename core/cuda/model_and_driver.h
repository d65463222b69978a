// What a GPU is and what drives it: which results of checks hold for it.
#pragma once
#include <string>

#include "core/cuda/device.h"

namespace elastron::cuda {

// "NVIDIA H200, sm_90, driver 550.54.15, CUDA 12.4"; the same for all GPUs of a kind on a machine.
std::string model_and_driver(const CudaDevice& device);

}  // namespace elastron::cuda
