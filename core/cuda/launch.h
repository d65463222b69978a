// Launches a kernel, checked. The configuration arithmetic is host code that tests can call.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>
#include <type_traits>

#include "core/cuda/status.h"
#include "core/cuda/stream.h"

namespace elastron::cuda {

struct LaunchShape {
  dim3 grid, block;
  size_t shared_bytes = 0;
};

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// One thread per item, at most `most_blocks` blocks: for kernels that stride over the grid.
inline LaunchShape over_items(int64_t items, int threads, int64_t most_blocks = int64_t(1) << 30) {
  const int64_t blocks = ceil_div(items, threads);
  return {dim3(unsigned(blocks < most_blocks ? blocks : most_blocks)), dim3(unsigned(threads))};
}

// Nothing is launched for an empty grid. `name` is for messages.
template <class... Parameters, class... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), const LaunchShape& shape,
            Stream stream, Arguments&&... arguments) {
  if (shape.grid.x == 0 || shape.grid.y == 0 || shape.grid.z == 0) return;
  if (shape.shared_bytes > (size_t(48) << 10)) {
    check(
        cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                             cudaFuncAttributeMaxDynamicSharedMemorySize, int(shape.shared_bytes)),
        name);
  }
  cudaLaunchConfig_t config{};
  config.gridDim = shape.grid;
  config.blockDim = shape.block;
  config.dynamicSmemBytes = shape.shared_bytes;
  config.stream = stream;
  check(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...), name);
}

}  // namespace elastron::cuda
