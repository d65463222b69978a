// select_blocks of ops/cpu/xattention.h.
#pragma once
#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

namespace elastron::ops::cpu {

template <class Set>
void select_blocks(std::span<const int64_t> masses, int64_t need, bool lagging, const Set& set) {
  const auto own = int64_t(masses.size()) - 1;
  set(own);
  if (own == 0) return;
  std::vector<int64_t> order(size_t(own) - (lagging ? 0 : 1));
  std::iota(order.begin(), order.end(), lagging ? 0 : 1);
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return masses[size_t(a)] > masses[size_t(b)]; });
  set(0);
  if (lagging) {
    // The sum that decides about a block lacks the one before it.
    int64_t mass = masses[size_t(own)];
    for (size_t n = 0; n < order.size() && (n == 0 ? need > 0 : mass < need); ++n) {
      set(order[n]);
      if (n > 0) mass += masses[size_t(order[n - 1])];
    }
    return;
  }
  int64_t mass = masses[0] + masses[size_t(own)];
  for (const int64_t block : order) {
    if (mass >= need) return;
    set(block);
    mass += masses[size_t(block)];
  }
}

}  // namespace elastron::ops::cpu
