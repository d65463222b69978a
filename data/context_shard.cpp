#include "data/context_shard.h"

#include <algorithm>
#include <numeric>

#include "core/error.h"

namespace elastron::data {

namespace {

// Two chunks of a sequence that go together; either may be empty.
struct ChunkPair {
  ContextPiece low, high;
  int64_t tokens() const { return low.end - low.begin + high.end - high.begin; }
};

std::vector<ChunkPair> cut(int32_t sequence, int64_t length, int ranks, int64_t block) {
  const int64_t blocks = (length + block - 1) / block, chunks = 2 * int64_t(ranks);
  const auto chunk = [&](int64_t j) {
    const auto at = [&](int64_t c) {
      return int32_t(std::min(length, c * blocks / chunks * block));
    };
    return ContextPiece{sequence, at(j), at(j + 1)};
  };
  std::vector<ChunkPair> pairs;
  for (int64_t j = 0; j < ranks; ++j) pairs.push_back({chunk(j), chunk(chunks - 1 - j)});
  // The most tokens first, to whoever has least.
  std::ranges::stable_sort(pairs, std::greater{}, &ChunkPair::tokens);
  return pairs;
}

}  // namespace

ContextPlan plan_context(std::span<const int32_t> cu_seqlens, int ranks, int64_t block) {
  ELASTRON_CHECK(ranks >= 1 && block >= 1 && !cu_seqlens.empty(), "plan_context: nothing to cut");
  ContextPlan plan;
  plan.pieces.resize(size_t(ranks));
  std::vector<int64_t> tokens(size_t(ranks), 0);
  const auto length = [&](int32_t s) {
    return int64_t(cu_seqlens[size_t(s) + 1] - cu_seqlens[size_t(s)]);
  };
  std::vector<int32_t> sequences(cu_seqlens.size() - 1);
  std::iota(sequences.begin(), sequences.end(), 0);
  std::ranges::stable_sort(sequences, std::greater{}, length);
  for (const int32_t s : sequences) {
    std::vector<size_t> by_load(static_cast<size_t>(ranks));
    std::iota(by_load.begin(), by_load.end(), size_t(0));
    std::ranges::stable_sort(by_load, std::less{}, [&](size_t r) { return tokens[r]; });
    const auto pairs = cut(s, length(s), ranks, block);
    for (size_t i = 0; i < pairs.size(); ++i) {
      const ChunkPair& pair = pairs[i];
      tokens[by_load[i]] += pair.tokens();
      auto& own = plan.pieces[by_load[i]];
      if (pair.low.end == pair.high.begin && pair.low.begin < pair.low.end) {
        own.push_back({s, pair.low.begin, pair.high.end});  // the two in the middle
        continue;
      }
      for (const ContextPiece& piece : {pair.low, pair.high}) {
        if (piece.begin < piece.end) own.push_back(piece);
      }
    }
  }
  for (auto& own : plan.pieces) {
    std::ranges::sort(own, std::less{},
                      [](const ContextPiece& p) { return std::pair(p.sequence, p.begin); });
  }
  plan.rows = *std::ranges::max_element(tokens);
  return plan;
}

PackedBatch shard(const PackedBatch& whole, const ContextPlan& plan, int rank) {
  PackedBatch own;
  own.cu_seqlens = {0};
  for (const ContextPiece& piece : plan.pieces.at(size_t(rank))) {
    const int64_t first = whole.cu_seqlens[size_t(piece.sequence)];
    const auto take = [&](const std::vector<int32_t>& from, std::vector<int32_t>& to) {
      to.insert(to.end(), from.begin() + first + piece.begin, from.begin() + first + piece.end);
    };
    take(whole.token_ids, own.token_ids);
    take(whole.targets, own.targets);
    take(whole.positions, own.positions);
    own.cu_seqlens.push_back(int32_t(own.token_ids.size()));
    own.document_of.push_back(int32_t(whole.document(piece.sequence)));
    own.offsets.push_back(int32_t(whole.offset(piece.sequence) + piece.begin));
    own.part_of.push_back(piece.sequence);
    own.ends.push_back(piece.end == whole.length(piece.sequence));
  }
  own.pad(plan.rows);
  own.range_ids = whole.range_ids;
  own.task_ids = whole.task_ids;
  own.sample_keys = whole.sample_keys;
  own.sample_ids = whole.sample_ids;
  own.kind_ids = whole.kind_ids;
  own.answer_offsets = whole.answer_offsets;
  own.answer_lengths = whole.answer_lengths;
  own.pack_ends = whole.pack_ends;
  own.pairs = whole.pairs;
  return own;
}

}  // namespace elastron::data
