// Context parallelism: which rows of a packed batch each rank of the context group has.
//
// A sequence is whole on one rank where that leaves the ranks even: no rank has more rows than
// most_context_rows(), nor more than a sixteenth above the mean of pairs of a query and a key up to
// it, attention's work. Where it does not, the sequences with the most pairs are cut, as few as it
// takes, all of them if need be. Whole ones go, the largest first, to the rank with the fewest rows
// of those that have room for their pairs: they fill up around what is cut.
//
// A sequence of n blocks that is cut has 2C chunks of whole blocks, as even as that goes; chunk j
// goes with chunk 2C - 1 - j, so that under a causal mask every rank has the same number of pairs
// (zigzag). Who gets which two chunks is decided by what the ranks have so far: sequences too short
// to be cut evenly fill up where the least is.
#pragma once
#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "data/packed_batch.h"

namespace elastron::data {

// Tokens [begin, end) of a sequence, relative to it; not empty.
struct ContextPiece {
  int32_t sequence = 0;
  int32_t begin = 0, end = 0;
};

struct ContextPlan {
  // Per rank, by sequence and position.
  std::vector<std::vector<ContextPiece>> pieces;
  // Every rank has so many rows, with padding behind its last piece: the most that one needs.
  int64_t rows = 0;

  int ranks() const { return int(pieces.size()); }
};

// Tokens: pieces of tiles that attention would have in the whole sequence too, where it reads no
// larger blocks.
inline constexpr int64_t kContextBlock = 64;
// Where attention reads blocks of so many keys.
constexpr int64_t context_block(int64_t key_block) { return std::max(kContextBlock, key_block); }

// What the ranks may differ by where sequences are whole, as shares of the mean.
inline constexpr double kContextRowsSlack = 1.0 / 64, kContextPairsSlack = 1.0 / 16;
// Rows that a rank may have then, of so many on the average: two blocks more are always allowed.
double most_context_rows(double mean, int64_t block);

// block: tokens; pieces begin at multiples of it within their sequence. offsets: tokens that each
// sequence attends to before its own (PackedBatch::offset()); empty: none. A function of its
// arguments alone: the same on every rank.
ContextPlan plan_context(std::span<const int32_t> cu_seqlens, int ranks, int64_t block,
                         std::span<const int32_t> offsets = {});

// One rank's part: its pieces are the sequences, `offsets` count what stands before each.
// Fields on documents and pairs are the whole batch's.
PackedBatch shard(const PackedBatch& whole, const ContextPlan& plan, int rank);

}  // namespace elastron::data
