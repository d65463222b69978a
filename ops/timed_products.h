// Which matrix products of a GPU are large enough for their algorithms to be timed.
#pragma once
#include <cstdint>

namespace elastron::ops {

// Of a device: Device::attached<TimedProducts>(). In smaller ones the launch is what counts: these
// are a few microseconds of a fast GPU.
struct TimedProducts {
  int64_t least = int64_t(1) << 30;  // multiply-adds
};

}  // namespace elastron::ops
