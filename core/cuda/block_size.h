// The memory that an allocation takes on a GPU. Plain C++, for builds without CUDA too.
#pragma once
#include <algorithm>
#include <cstddef>

namespace elastron::cuda {

// The driver's pool aligns blocks so.
inline constexpr size_t kGranule = 256;

constexpr size_t block_size(size_t bytes) {
  return (std::max<size_t>(bytes, 1) + kGranule - 1) / kGranule * kGranule;
}

}  // namespace elastron::cuda
