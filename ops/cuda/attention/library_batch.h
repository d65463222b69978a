// The sizes that a library is told of a batch: buckets, so that packs of a run, each of another
// shape, share the plans that it compiles (seconds each).
#pragma once
#include <algorithm>
#include <bit>
#include <cstdint>

#include "ops/varlen.h"

namespace elastron::ops::cuda {

// Powers of two. A larger length costs blocks that find nothing to do, a larger total workspace.
constexpr int64_t library_size(int64_t size) {
  return int64_t(std::bit_ceil(uint64_t(std::max<int64_t>(size, 128))));
}

// Of all keys. Of a sequence that C ranks share each rank has (2 C + 1) / 2 C of its tokens as keys
// of its two parts: a quarter more than a power of two holds those of a whole one for C >= 2.
constexpr int64_t library_keys(int64_t keys) { return library_size((4 * keys + 4) / 5) / 4 * 5; }

struct LibraryBatch {
  // Sequences that have tokens, and behind them as many `dummies`, of one token and one key, as
  // make a power of two: cuDNN takes no empty sequences before 9.25.
  int64_t sequences = 0, dummies = 0;
  int64_t longest = 0;  // tokens of the longest sequence, or more
  // Rows of all, with those of dummies, or more. It has room for the dummies of any batch of the
  // bucket.
  int64_t tokens = 0;
  // The same of keys, where sequences have keys of their own (Varlen::cu_keys); else zeros.
  int64_t longest_keys = 0, keys = 0;

  bool operator==(const LibraryBatch&) const = default;
};

inline LibraryBatch library_batch(const Varlen& varlen) {
  LibraryBatch batch;
  int64_t count = 0, longest = 0, longest_keys = 0;
  for (int64_t s = 0; s < varlen.sequences(); ++s) {
    if (varlen.length(s) == 0) continue;
    ++count;
    longest = std::max(longest, varlen.length(s));
    longest_keys = std::max(longest_keys, varlen.key_length(s));
  }
  if (count == 0) return batch;
  batch.sequences = int64_t(std::bit_ceil(uint64_t(count)));
  batch.dummies = batch.sequences - count;
  batch.longest = library_size(longest);
  batch.tokens = library_size(varlen.tokens()) + batch.sequences / 2;
  if (varlen.cu_keys.empty()) return batch;
  batch.longest_keys = library_size(longest_keys);
  batch.keys = library_keys(varlen.keys()) + batch.sequences / 2;
  return batch;
}

}  // namespace elastron::ops::cuda
