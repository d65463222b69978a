#include "data/packing.h"

#include <algorithm>
#include <numeric>

#include "core/error.h"

namespace elastron::data {

std::vector<std::vector<int64_t>> pack_documents(std::span<const int64_t> lengths,
                                                 int64_t max_tokens, Packing packing) {
  std::vector<int64_t> order(lengths.size());
  std::iota(order.begin(), order.end(), 0);
  if (packing == Packing::sorted) {
    std::ranges::stable_sort(order, {}, [&](int64_t i) { return lengths[size_t(i)]; });
  }
  std::vector<std::vector<int64_t>> packs;
  std::vector<int64_t> filled;
  for (const int64_t i : order) {
    const int64_t length = lengths[size_t(i)];
    ELASTRON_CHECK(length <= max_tokens, "a document longer than a pack");
    size_t into = packs.size();
    if (packing == Packing::sorted && !packs.empty() && filled.back() + length <= max_tokens) {
      into = packs.size() - 1;
    } else if (packing == Packing::first_fit) {
      const auto fits = std::ranges::find_if(
          filled, [&](int64_t tokens) { return tokens + length <= max_tokens; });
      into = size_t(fits - filled.begin());
    }
    if (into == packs.size()) {
      packs.emplace_back();
      filled.push_back(0);
    }
    packs[into].push_back(i);
    filled[into] += length;
  }
  return packs;
}

}  // namespace elastron::data
