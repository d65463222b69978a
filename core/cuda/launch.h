// Launches a kernel, checked. The configuration arithmetic is host code that tests can call.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>
#include <type_traits>

#include "core/ceil_div.h"
#include "core/cuda/status.h"
#include "core/cuda/stream.h"

namespace elastron::cuda {

struct LaunchShape {
  dim3 grid, block;
  size_t shared_bytes = 0;
};

// One thread per item, at most `most_blocks` blocks: for kernels that stride over the grid.
inline LaunchShape over_items(int64_t items, int threads, int64_t most_blocks = int64_t(1) << 30) {
  const int64_t blocks = ceil_div(items, threads);
  return {dim3(unsigned(blocks < most_blocks ? blocks : most_blocks)), dim3(unsigned(threads))};
}

// More shared memory than any kernel has without asking.
template <class... Parameters>
void allow_shared_memory(const char* name, void (*kernel)(Parameters...), size_t bytes) {
  if (bytes <= (size_t(48) << 10)) return;
  check(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                             cudaFuncAttributeMaxDynamicSharedMemorySize, int(bytes)),
        name);
}

// Nothing is launched for an empty grid. `name` is for messages.
template <class... Parameters, class... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), const LaunchShape& shape,
            Stream stream, Arguments&&... arguments) {
  if (shape.grid.x == 0 || shape.grid.y == 0 || shape.grid.z == 0) return;
  allow_shared_memory(name, kernel, shape.shared_bytes);
  cudaLaunchConfig_t config{};
  config.gridDim = shape.grid;
  config.blockDim = shape.block;
  config.dynamicSmemBytes = shape.shared_bytes;
  config.stream = stream;
  check(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...), name);
}

// As many blocks as the GPU runs at once, but no more than there are `tiles`: for kernels whose
// blocks take tiles until none is left.
template <class... Parameters>
LaunchShape persistent(const char* name, void (*kernel)(Parameters...), int threads,
                       size_t shared_bytes, int64_t tiles) {
  allow_shared_memory(name, kernel, shared_bytes);
  int device = 0, processors = 0, each = 0;
  check(cudaGetDevice(&device), name);
  check(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device), name);
  check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&each, kernel, threads, shared_bytes), name);
  // None fits: the launch says so.
  const int64_t blocks = int64_t(processors) * (each > 0 ? each : 1);
  return {dim3(unsigned(blocks < tiles ? blocks : tiles)), dim3(unsigned(threads)), shared_bytes};
}

}  // namespace elastron::cuda
