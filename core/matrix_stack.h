// Matrices of one shape, one after the other in one tensor [G, rows, columns].
#pragma once
#include "core/tensor.h"

namespace elastron {

// Number g of a contiguous stack, [rows, columns]: the same memory.
inline Tensor matrix_of(const Tensor& stack, int64_t g) {
  return stack.slice(0, g, g + 1).view({stack.size(1), stack.size(2)});
}

}  // namespace elastron
