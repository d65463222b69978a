// Matrix products of a GPU whose algorithms are timed: which, and what that takes.
#pragma once
#include <cstdint>

namespace elastron::ops {

// Of a device: Device::attached<TimedProducts>(). In smaller ones the launch is what counts: these
// are a few microseconds of a fast GPU.
struct TimedProducts {
  int64_t least = int64_t(1) << 30;  // multiply-adds
};

// Bytes that the first product of a bucket of shapes may take beside it, where it adds to its result.
inline constexpr int64_t kTimingScratch = int64_t(64) << 20;

}  // namespace elastron::ops
