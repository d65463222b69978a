// How the shards of a vocabulary make one softmax.
#pragma once
#include <cmath>
#include <cstdint>

#include "core/host_device.h"

namespace elastron::ops::detail {

// The numbers that one shard knows of a row, in the order in which they are gathered.
enum CrossEntropyPart : int { kPartMax, kPartSumExp, kPartTarget, kPartArgmax, kCrossEntropyParts };

struct CrossEntropyRow {
  double lse, loss;
  int32_t argmax;
};

// parts [shards, kCrossEntropyParts, rows].
ELASTRON_HD inline CrossEntropyRow combine_row(const double* parts, int64_t shards, int64_t rows,
                                               int64_t row) {
  const auto part = [=](int64_t shard, int what) {
    return parts[(shard * kCrossEntropyParts + what) * rows + row];
  };
  double max = part(0, kPartMax);
  int32_t argmax = int32_t(part(0, kPartArgmax));
  for (int64_t s = 1; s < shards; ++s) {
    // Ids grow with the shard, so that the first largest keeps the smallest id.
    if (part(s, kPartMax) > max) {
      max = part(s, kPartMax);
      argmax = int32_t(part(s, kPartArgmax));
    }
  }
  double sum = 0, target = 0;
  for (int64_t s = 0; s < shards; ++s) {
    sum += part(s, kPartSumExp) * exp(part(s, kPartMax) - max);
    target += part(s, kPartTarget);
  }
  const double lse = max + log(sum);
  return {lse, lse - target, argmax};
}

}  // namespace elastron::ops::detail
