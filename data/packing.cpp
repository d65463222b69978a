#include "data/packing.h"

#include <algorithm>
#include <bit>
#include <numeric>

#include "core/error.h"

namespace elastron::data {

namespace {

using Packs = std::vector<std::vector<int64_t>>;

// A pack stays open for the next document only.
Packs next_fit(std::span<const int64_t> lengths, const std::vector<int64_t>& order,
               int64_t max_tokens) {
  Packs packs;
  int64_t filled = 0;
  for (const int64_t i : order) {
    if (packs.empty() || filled + lengths[size_t(i)] > max_tokens ||
        int64_t(packs.back().size()) == kMostDocumentsPerPack) {
      packs.emplace_back();
      filled = 0;
    }
    packs.back().push_back(i);
    filled += lengths[size_t(i)];
  }
  return packs;
}

// All packs stay open. A tree of the largest room below each node finds the first that fits, in
// logarithmic time; packs not begun yet have all their room.
Packs first_fit(std::span<const int64_t> lengths, int64_t max_tokens) {
  const size_t leaves = std::bit_ceil(std::max<size_t>(lengths.size(), 1));
  std::vector<int64_t> room(2 * leaves, max_tokens);  // node n has the children 2n and 2n + 1
  Packs packs;
  for (size_t i = 0; i < lengths.size(); ++i) {
    size_t node = 1;
    while (node < leaves) node = 2 * node + (room[2 * node] >= lengths[i] ? 0 : 1);
    const size_t pack = node - leaves;
    if (pack == packs.size()) packs.emplace_back();
    packs[pack].push_back(int64_t(i));
    room[node] -= lengths[i];
    if (int64_t(packs[pack].size()) == kMostDocumentsPerPack) room[node] = 0;
    while (node > 1) {
      node /= 2;
      room[node] = std::max(room[2 * node], room[2 * node + 1]);
    }
  }
  return packs;
}

}  // namespace

std::vector<std::vector<int64_t>> pack_documents(std::span<const int64_t> lengths,
                                                 int64_t max_tokens, Packing packing) {
  for (const int64_t length : lengths) {
    ELASTRON_CHECK(length > 0 && length <= max_tokens, "a document that fits no pack");
  }
  std::vector<int64_t> order(lengths.size());
  std::iota(order.begin(), order.end(), 0);
  switch (packing) {
    case Packing::sorted:
      std::ranges::stable_sort(order, {}, [&](int64_t i) { return lengths[size_t(i)]; });
      return next_fit(lengths, order, max_tokens);
    case Packing::first_fit: return first_fit(lengths, max_tokens);
    case Packing::none: break;
  }
  std::vector<std::vector<int64_t>> packs;
  for (const int64_t i : order) packs.push_back({i});
  return packs;
}

}  // namespace elastron::data
