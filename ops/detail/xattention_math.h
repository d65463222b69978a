// The part of XAttention's choice that the devices share (ops/xattention.h).
#pragma once
#include <cmath>
#include <cstdint>
#include <numbers>

#include "core/host_device.h"

namespace elastron::ops::detail {

inline constexpr double kMassUnits = 4294967296.0;  // of one whole group: 2^32

ELASTRON_HD inline int64_t mass_units(double mass) { return int64_t(rint(mass * kMassUnits)); }

// Chosen blocks must hold this much: `threshold` of `groups` whole groups.
ELASTRON_HD inline int64_t needed_units(double threshold, int64_t groups) {
  return int64_t(ceil(threshold * double(groups) * kMassUnits));
}

ELASTRON_HD constexpr int64_t groups_of(int64_t tokens, int64_t stride) {
  return (tokens + stride - 1) / stride;
}
// Query groups that are worked on together where a tile has `tile` of them: whole blocks, of `each`
// groups.
ELASTRON_HD constexpr int64_t groups_at_once(int64_t each, int64_t tile) {
  return each < tile ? tile / each * each : each;
}
// The factor on a sum of products over an antidiagonal; scores count in powers of two.
inline double score_factor(double softmax_scale, int64_t stride) {
  return softmax_scale / double(stride) * std::numbers::log2e;
}

// The published code scores a sequence in chunks of so many queries (docs/method.md, First chunk).
ELASTRON_HD constexpr int64_t reference_chunk(int64_t tokens) {
  int64_t power = 1;
  while (power < tokens) power *= 2;
  const int64_t whole = power > 2048 ? power : 2048;
  const int64_t fits = (int64_t{1} << 28) / power;
  const int64_t chunk = whole < fits ? whole : fits;
  return chunk > 2048 ? chunk : 2048;
}

}  // namespace elastron::ops::detail
