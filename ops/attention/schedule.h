// Work lists of the attention kernels, longest first: heads of one layer differ in cost by an order
// of magnitude, so whoever is free takes the longest piece that is left (spec 3.4).
#pragma once
#include <algorithm>
#include <cstdint>
#include <functional>
#include <vector>

#include "ops/attention/tile_plan.h"
#include "ops/varlen.h"

namespace elastron::ops {

struct AttentionTile {
  int32_t sequence, kv_head;
  int32_t tile;  // query tile (forward) or key tile (backward) of the sequence
  int64_t cost;  // in tile pairs or keys; only compared
};

// gate(sequence, kv_head): true for full attention.
using GateView = std::function<bool(int64_t sequence, int64_t kv_head)>;

// Query tiles; `both` branches of every head are wanted, or only the selected one.
inline std::vector<AttentionTile> forward_schedule(const Varlen& varlen, int64_t kv_heads,
                                                   int64_t group, const StreamingRule& rule,
                                                   const GateView& gate, bool both) {
  const int64_t tokens = tile_tokens(group);
  std::vector<AttentionTile> work;
  for (int64_t s = 0; s < varlen.sequences(); ++s) {
    const int64_t length = varlen.length(s), offset = varlen.offset(s);
    for (int64_t t = 0; t < tile_count(length, tokens); ++t) {
      const auto plan =
          plan_query_tile(rule, offset + t * tokens, offset + std::min(length, (t + 1) * tokens));
      const int64_t streaming = plan.streaming.keys(), rest = plan.rest.keys();
      for (int64_t h = 0; h < kv_heads; ++h) {
        work.push_back({int32_t(s), int32_t(h), int32_t(t),
                        both || gate(s, h) ? streaming + rest : streaming});
      }
    }
  }
  std::stable_sort(work.begin(), work.end(),
                   [](const auto& a, const auto& b) { return a.cost > b.cost; });
  return work;
}

// Key tiles. Within a (sequence, kv head) they keep their order, which is the order in which dq is
// summed: a tile only ever waits for one that stands before it in the list.
inline std::vector<AttentionTile> backward_schedule(const Varlen& varlen, int64_t kv_heads,
                                                    int64_t group, const StreamingRule& rule,
                                                    const GateView& gate) {
  const int64_t tokens = tile_tokens(group);
  std::vector<AttentionTile> work;
  for (int64_t s = 0; s < varlen.sequences(); ++s) {
    const int64_t offset = varlen.offset(s);
    const int64_t query_tiles = tile_count(varlen.length(s), tokens);
    for (int64_t h = 0; h < kv_heads; ++h) {
      const bool full = gate(s, h);
      int64_t bound = query_tiles;  // costs are made non-increasing, so that the sort keeps order
      for (int64_t k = 0; k < tile_count(varlen.key_length(s), kTileKeys); ++k) {
        const int64_t begin = k * kTileKeys, first = first_query_tile(begin, offset, tokens);
        int64_t end = query_tiles;
        if (!full && begin >= rule.sink_tokens()) {
          end = std::min(end, tile_count(rule.local_end(begin + kTileKeys - 1) - offset, tokens));
        }
        bound = std::min(bound, std::max<int64_t>(end - first, 0));
        work.push_back({int32_t(s), int32_t(h), int32_t(k), bound});
      }
    }
  }
  std::stable_sort(work.begin(), work.end(),
                   [](const auto& a, const auto& b) { return a.cost > b.cost; });
  return work;
}

}  // namespace elastron::ops
