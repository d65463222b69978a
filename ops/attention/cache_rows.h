// Which row of a kv head's cache holds which position, and which rows the newest token sees
// (docs/method.md, Decoding), for the CPU, the GPU and who allocates the cache.
#pragma once
#include <cstdint>

#include "core/host_device.h"
#include "ops/attention/streaming_rule.h"

namespace elastron::ops {

// Rows that hold the visible keys, in any order: softmax does not care.
struct VisibleRows {
  struct Range {
    int64_t begin = 0, end = 0;
  };
  Range ranges[3];

  ELASTRON_HD constexpr int64_t keys() const {
    int64_t n = 0;
    for (const Range& r : ranges) n += r.end - r.begin;
    return n;
  }

  // The row of the i-th of these keys, 0 <= i < keys().
  ELASTRON_HD constexpr int64_t row(int64_t i) const {
    for (const Range& r : ranges) {
      if (i < r.end - r.begin) return r.begin + i;
      i -= r.end - r.begin;
    }
    return -1;
  }
};

// Either a row for every position, or the sink's rows and behind them a ring of the local window,
// so that a head's memory does not grow with the context.
struct CacheRows {
  bool every_position = true;
  StreamingRule rule;  // of the sink and the window

  ELASTRON_HD constexpr int64_t ring() const { return rule.local_blocks * rule.block; }

  // At most as many as there are positions.
  ELASTRON_HD constexpr int64_t count(int64_t positions) const {
    const int64_t kept = rule.sink_tokens() + ring();
    return every_position || kept > positions ? positions : kept;
  }

  // Where a position is when the newest one is `last`; -1: nowhere.
  ELASTRON_HD constexpr int64_t row(int64_t position, int64_t last) const {
    const int64_t sink = rule.sink_tokens();
    if (every_position || position < sink) return position;
    if (position < rule.local_begin(last)) return -1;
    return sink + (position - sink) % ring();
  }

  // What the token at `position`, which is the newest, sees.
  ELASTRON_HD constexpr VisibleRows visible(int64_t position) const {
    const int64_t sink = rule.sink_tokens();
    const int64_t after = position - sink;  // positions beyond the sink, less one
    if (every_position || after < ring()) return {{{0, position + 1}, {}, {}}};
    // The block that the position stands in has taken the place of the oldest one, whose rows
    // behind it are not seen any more.
    const int64_t at = after % ring(), next_block = (at / rule.block + 1) * rule.block;
    return {{{0, sink}, {sink, sink + at + 1}, {sink + next_block, sink + ring()}}};
  }
};

}  // namespace elastron::ops
