// What only some files ask of the runtime.
#pragma once
#include <cuda_runtime.h>

cudaError_t cudaDeviceGetPCIBusId(char* text, int length, int device);
