// Quantised weights on a GPU: how much of one exists in the dtype that is multiplied in.
#pragma once
#include <cstdint>

namespace elastron::ops {

// Of a device: Device::attached<ConvertedWeights>(). All linears of a layer are converted whole; a
// head, whose products are large in parts too, is not.
struct ConvertedWeights {
  int64_t most = int64_t(1) << 26;  // numbers at a time, in whole blocks
};

}  // namespace elastron::ops
