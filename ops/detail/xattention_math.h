// What the devices share of XAttention's choice (ops/xattention.h).
#pragma once
#include <cmath>
#include <cstdint>

#include "core/host_device.h"

namespace elastron::ops::detail {

inline constexpr double kMassUnits = 4294967296.0;  // of one whole group: 2^32

ELASTRON_HD inline int64_t mass_units(double mass) { return int64_t(rint(mass * kMassUnits)); }

// Chosen blocks must hold this much: `threshold` of `groups` whole groups.
ELASTRON_HD inline int64_t needed_units(double threshold, int64_t groups) {
  return int64_t(ceil(threshold * double(groups) * kMassUnits));
}

// The published code scores a sequence in chunks of so many queries (spec 5.3).
ELASTRON_HD constexpr int64_t reference_chunk(int64_t tokens) {
  int64_t power = 1;
  while (power < tokens) power *= 2;
  const int64_t whole = power > 2048 ? power : 2048;
  const int64_t fits = (int64_t{1} << 28) / power;
  const int64_t chunk = whole < fits ? whole : fits;
  return chunk > 2048 ? chunk : 2048;
}

}  // namespace elastron::ops::detail
