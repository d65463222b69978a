#include "core/cuda/launch.h"
#include "ops/cuda/gathered_read.h"

namespace elastron::ops::cuda {

using namespace elastron::cuda;

namespace {

constexpr int kThreads = 256;

// A block per part: there are a few hundred, of a few kilobytes.
__global__ void gather_parts_kernel(const GatheredPart* parts, uint8_t* to) {
  const GatheredPart part = parts[blockIdx.x];
  const auto* from = static_cast<const uint8_t*>(part.from);
  uint8_t* out = to + part.begin;
  int64_t done = 0;
  if (reinterpret_cast<uintptr_t>(from) % sizeof(uint64_t) == 0) {
    const int64_t words = part.bytes / int64_t(sizeof(uint64_t));
    for (int64_t i = threadIdx.x; i < words; i += kThreads) {
      reinterpret_cast<uint64_t*>(out)[i] = reinterpret_cast<const uint64_t*>(from)[i];
    }
    done = words * int64_t(sizeof(uint64_t));
  }
  for (int64_t i = done + threadIdx.x; i < part.bytes; i += kThreads) out[i] = from[i];
}

}  // namespace

void gather_parts(const GatheredPart* parts, int64_t count, uint8_t* to, Stream stream) {
  launch("gather_parts", gather_parts_kernel, {dim3(unsigned(count)), dim3(kThreads)}, stream,
         parts, to);
}

}  // namespace elastron::ops::cuda
