// Streaming sparse attention (spec 4.1) as integer arithmetic, for the CPU, the GPU and the tests.
// Positions are relative to the sequence.
#pragma once
#include <cstdint>

#include "core/host_device.h"

namespace elastron::ops {

// Query i sees key j <= i iff floor(j / block) < sink_blocks
// or floor(i / block) - floor(j / block) < local_blocks.
struct StreamingRule {
  int64_t block = 64;
  int64_t sink_blocks = 2;
  int64_t local_blocks = 32;  // at least 1; the first is the diagonal block

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
  // First key of the local window of a query. Never decreases with the query, never exceeds it.
  ELASTRON_HD constexpr int64_t local_begin(int64_t query) const {
    const int64_t first_block = query / block - local_blocks + 1;
    return first_block > 0 ? first_block * block : 0;
  }
  // The first query past a key's window: the queries from the key to here have it in theirs.
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
constexpr int64_t visible_pairs(const StreamingRule& rule, int64_t length) {
  int64_t pairs = 0;
  for (int64_t begin = 0; begin < length; begin += rule.block) {
    const int64_t rows = length - begin < rule.block ? length - begin : rule.block;
    pairs += rows * rule.visible_keys(begin) + rows * (rows - 1) / 2;  // one more key per row
  }
  return pairs;
}
constexpr int64_t causal_pairs(int64_t length) { return length * (length + 1) / 2; }

}  // namespace elastron::ops
