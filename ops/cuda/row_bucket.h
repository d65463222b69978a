// How matrix products of many numbers of rows share what was found out for one of them.
#pragma once
#include <algorithm>
#include <bit>
#include <cstdint>

namespace elastron::ops::cuda {

// The bucket of a number of rows >= 1, named by the largest that is in it: powers of two up to 256,
// multiples of 256 up to 4,096, eighths of a power of two from there on. Up to a million rows there are 88 of
// them; packs of a run, which are nearly full, meet one or two.
constexpr int64_t row_bucket(int64_t rows) {
  constexpr int64_t kStep = 256;
  const auto power = int64_t(std::bit_ceil(uint64_t(rows)));
  if (power <= kStep) return power;
  const int64_t step = std::max(kStep, power / 16);
  return (rows + step - 1) / step * step;
}

}  // namespace elastron::ops::cuda
