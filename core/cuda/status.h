// Every call of the CUDA runtime goes through check(): nothing is launched after a failure unseen.
#pragma once
#include <cuda_runtime.h>

#include <string>

namespace elastron::cuda {

// Throws CommunicationError (exit code 6: a device is lost) for errors that end the device's
// context, LogicError for the rest; both name the operation and the runtime's text.
void check(cudaError_t status, const char* operation);

}  // namespace elastron::cuda
