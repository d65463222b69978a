// Which of the algorithms for a matrix product a GPU takes.
#pragma once
#include <cstdint>

namespace elastron::ops {

enum class AlgorithmChoice : uint8_t {
  fastest,  // here, as timed: another device of the same kind may add in another order
  first,    // of the library: for what all ranks must get bit for bit, such as a gate
};

}  // namespace elastron::ops
