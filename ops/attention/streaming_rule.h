// Streaming sparse attention (docs/method.md, Streaming) as integer arithmetic, for the CPU, the
// GPU and the tests. Positions are relative to the sequence.
#pragma once
#include <cstdint>

#include "core/host_device.h"

namespace elastron::ops {

// Query i sees key j <= i iff floor(j / block) < sink_blocks
// or floor(i / block) - floor(j / block) < local_blocks
// or i >= dense_from.
//
// A window of W tokens without a sink (the reference's `local`) is {1, 0, W}.
struct StreamingRule {
  static constexpr int64_t kNone = int64_t{1} << 40;  // beyond every position

  int64_t block = 64;
  int64_t sink_blocks = 2;
  int64_t local_blocks = 32;  // at least 1; the first is the diagonal block
  // The last queries of a sequence see all keys (the reference's `triangle`, docs/method.md,
  // Modes).
  int64_t dense_tail = 0;
  int64_t dense_from = kNone;  // the position where they begin: set by within()

  bool operator==(const StreamingRule&) const = default;

  // The rule of a sequence of so many positions in all: what everything below is asked of.
  ELASTRON_HD constexpr StreamingRule within(int64_t whole_length) const {
    StreamingRule rule = *this;
    if (dense_tail > 0) rule.dense_from = whole_length > dense_tail ? whole_length - dense_tail : 0;
    return rule;
  }

  // Tokens are rounded up to whole blocks.
  ELASTRON_HD static constexpr StreamingRule from_tokens(int64_t sink, int64_t local,
                                                         int64_t block_tokens) {
    return {block_tokens, (sink + block_tokens - 1) / block_tokens,
            (local + block_tokens - 1) / block_tokens};
  }

  ELASTRON_HD constexpr bool visible(int64_t query, int64_t key) const {
    return key <= query && (key < sink_tokens() || key >= local_begin(query));
  }
  // Keys below this are seen by every later query.
  ELASTRON_HD constexpr int64_t sink_tokens() const { return sink_blocks * block; }
  // First key of the local window of a query, which never exceeds it; 0 from dense_from on. Before
  // that it never decreases with the query.
  ELASTRON_HD constexpr int64_t local_begin(int64_t query) const {
    if (query >= dense_from) return 0;
    const int64_t first_block = query / block - local_blocks + 1;
    return first_block > 0 ? first_block * block : 0;
  }
  // The first query past a key's window: the queries from the key to here have it in theirs, and
  // those from dense_from on.
  ELASTRON_HD constexpr int64_t local_end(int64_t key) const {
    return (key / block + local_blocks) * block;
  }
  // Number of keys a query sees.
  ELASTRON_HD constexpr int64_t visible_keys(int64_t query) const {
    const int64_t begin = local_begin(query);
    return begin <= sink_tokens() ? query + 1 : sink_tokens() + query + 1 - begin;
  }
};

// Number of visible (query, key) pairs of a sequence of that length under the rule / causally.
constexpr int64_t causal_pairs(int64_t length) { return length * (length + 1) / 2; }
// Those of the queries [first, past) under a rule that is within() their sequence.
constexpr int64_t visible_pairs(const StreamingRule& rule, int64_t first, int64_t past) {
  int64_t streaming = past < rule.dense_from ? past : rule.dense_from;
  if (streaming < first) streaming = first;
  int64_t pairs = causal_pairs(past) - causal_pairs(streaming);
  for (int64_t begin = first; begin < streaming;) {
    const int64_t block_end = (begin / rule.block + 1) * rule.block;
    const int64_t rows = (streaming < block_end ? streaming : block_end) - begin;
    pairs += rows * rule.visible_keys(begin) + rows * (rows - 1) / 2;  // one more key per row
    begin += rows;
  }
  return pairs;
}
constexpr int64_t visible_pairs(const StreamingRule& of_any, int64_t length) {
  return visible_pairs(of_any.within(length), 0, length);
}

}  // namespace elastron::ops
