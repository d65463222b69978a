// A driver and a CUDA runtime for tests that have a library compile kernels for a GPU that is not
// there: whatever loads a kernel succeeds, whatever would run one fails. The device is of compute
// capability $ELASTRON_STAND_IN_SM / 10.
#include <cuda_runtime_api.h>

#include <cstdlib>
#include <cstring>

namespace {

constexpr int kNoDriver = 34;  // CUDA_ERROR_STUB_LIBRARY

int capability() {
  const char* sm = std::getenv("ELASTRON_STAND_IN_SM");
  return sm == nullptr ? 90 : std::atoi(sm);
}

}  // namespace

extern "C" {

#define FAILS(name) \
  int name() { return kNoDriver; }
#define LOADS(name)                       \
  int name(void** handle) {               \
    *handle = reinterpret_cast<void*>(1); \
    return 0;                             \
  }
#define SUCCEEDS(name) \
  int name() { return 0; }

LOADS(cuLibraryLoadData)
LOADS(cuLibraryLoadFromFile)
LOADS(cuLibraryGetKernel)
LOADS(cuModuleLoadData)
LOADS(cuModuleGetFunction)
SUCCEEDS(cuLibraryUnload)
SUCCEEDS(cuKernelSetAttribute)
SUCCEEDS(cuKernelGetAttribute)
SUCCEEDS(cuFuncSetAttribute)
SUCCEEDS(cuFuncGetAttribute)
SUCCEEDS(cuModuleUnload)
FAILS(cuModuleLoadDataEx)
FAILS(cuModuleLoadFatBinary)
FAILS(cuModuleGetGlobal_v2)
FAILS(cuInit)
FAILS(cuLaunchKernel)
FAILS(cuLaunchCooperativeKernel)
FAILS(cuLaunchKernelEx)
FAILS(cuLinkCreate)
FAILS(cuLinkCreate_v2)
FAILS(cuLinkAddData)
FAILS(cuLinkAddData_v2)
FAILS(cuLinkAddFile_v2)
FAILS(cuLinkComplete)
FAILS(cuLinkDestroy)
FAILS(cuGetErrorString)
FAILS(cuGetErrorName)
FAILS(cuDeviceGet)
FAILS(cuDeviceGetCount)
FAILS(cuDeviceGetAttribute)
FAILS(cuDevicePrimaryCtxRetain)
FAILS(cuDevicePrimaryCtxRelease)
FAILS(cuDevicePrimaryCtxReset)
FAILS(cuCtxGetCurrent)
FAILS(cuCtxGetDevice)
FAILS(cuCtxGetLimit)
FAILS(cuCtxPushCurrent)
FAILS(cuCtxPopCurrent)
FAILS(cuStreamGetCtx)
FAILS(cuStreamSynchronize)
FAILS(cuMemcpyDtoH_v2)
FAILS(cuTensorMapEncodeTiled)
FAILS(cuOccupancyMaxPotentialClusterSize)
FAILS(cuOccupancyMaxActiveBlocksPerMultiprocessor)
int cuDriverGetVersion(int* version) {
  *version = 13000;
  return 0;
}

cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  std::memset(properties, 0, sizeof *properties);
  properties->major = capability() / 10;
  properties->minor = capability() % 10;
  properties->multiProcessorCount = 132;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  *value = attribute == cudaDevAttrComputeCapabilityMajor   ? capability() / 10
           : attribute == cudaDevAttrComputeCapabilityMinor ? capability() % 10
           : attribute == cudaDevAttrMultiProcessorCount    ? 132
                                                            : 0;
  return cudaSuccess;
}
const char* cudaGetErrorString(cudaError_t) { return "error of a stand-in"; }

}  // extern "C"
