#include "data/context_shard.h"

#include <algorithm>
#include <numeric>
#include <utility>

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

// A sequence to be dealt.
struct Dealt {
  int32_t sequence = 0;
  int64_t tokens = 0;
  double before = 0;  // tokens that it attends to before its own

  // Of a query among the tokens [begin, end) and a key up to it.
  double pairs(int64_t begin, int64_t end) const {
    const double b = double(begin), e = double(end);
    return (e - b) * before + (e * (e + 1) - b * (b + 1)) / 2;
  }
  double pairs() const { return pairs(0, tokens); }
};

std::vector<Dealt> by_pairs(std::span<const int32_t> cu_seqlens, std::span<const int32_t> offsets) {
  std::vector<Dealt> all;
  for (size_t s = 0; s + 1 < cu_seqlens.size(); ++s) {
    const int64_t tokens = cu_seqlens[s + 1] - cu_seqlens[s];
    if (tokens == 0) continue;
    all.push_back({int32_t(s), tokens, offsets.empty() ? 0.0 : double(offsets[s])});
  }
  std::ranges::stable_sort(all, std::greater{}, [](const Dealt& d) { return d.pairs(); });
  return all;
}

struct Load {
  int64_t tokens = 0;
  double pairs = 0;
};

// The `cut` sequences with the most pairs are cut, the others are whole.
class Deal {
 public:
  Deal(std::span<const Dealt> sequences, size_t cut, int ranks, int64_t block)
      : pieces_(size_t(ranks)), loads_(size_t(ranks)), block_(block) {
    for (const Dealt& d : sequences) {
      mean_.tokens += double(d.tokens) / ranks;
      mean_.pairs += d.pairs() / ranks;
    }
    for (const Dealt& d : sequences.first(cut)) deal_chunks(d);
    for (const Dealt& d : sequences.subspan(cut)) deal_whole(d);
  }

  bool even() const {
    return std::ranges::all_of(loads_, [&](const Load& load) {
      return double(load.tokens) <= most_context_rows(mean_.tokens, block_) &&
             load.pairs <= most_pairs();
    });
  }
  ContextPlan plan() && {
    for (auto& own : pieces_) {
      std::ranges::sort(own, std::less{},
                        [](const ContextPiece& p) { return std::pair(p.sequence, p.begin); });
    }
    return {.pieces = std::move(pieces_),
            .rows = std::ranges::max_element(loads_, std::less{}, &Load::tokens)->tokens};
  }

 private:
  double most_pairs() const { return (1 + kContextPairsSlack) * mean_.pairs; }

  void deal_chunks(const Dealt& d) {
    std::vector<size_t> by_load(loads_.size());
    std::iota(by_load.begin(), by_load.end(), size_t(0));
    std::ranges::stable_sort(by_load, std::less{}, [&](size_t r) { return loads_[r].tokens; });
    const auto pairs = cut(d.sequence, d.tokens, int(loads_.size()), block_);
    for (size_t i = 0; i < pairs.size(); ++i) {
      const ChunkPair& pair = pairs[i];
      Load& load = loads_[by_load[i]];
      auto& own = pieces_[by_load[i]];
      load.tokens += pair.tokens();
      for (const ContextPiece& piece : {pair.low, pair.high}) {
        load.pairs += d.pairs(piece.begin, piece.end);
      }
      if (pair.low.end == pair.high.begin && pair.low.begin < pair.low.end) {
        own.push_back({d.sequence, pair.low.begin, pair.high.end});  // the two in the middle
        continue;
      }
      for (const ContextPiece& piece : {pair.low, pair.high}) {
        if (piece.begin < piece.end) own.push_back(piece);
      }
    }
  }
  // To the rank with the fewest tokens of those that have room for its pairs, or if none has to the
  // one with the fewest pairs.
  void deal_whole(const Dealt& d) {
    const auto order = [&](const Load& load) {
      return load.pairs + d.pairs() <= most_pairs() ? std::pair(0.0, double(load.tokens))
                                                    : std::pair(1.0, load.pairs);
    };
    const auto to = std::ranges::min_element(loads_, std::less{}, order);
    to->tokens += d.tokens;
    to->pairs += d.pairs();
    pieces_[size_t(to - loads_.begin())].push_back({d.sequence, 0, int32_t(d.tokens)});
  }

  std::vector<std::vector<ContextPiece>> pieces_;
  std::vector<Load> loads_;
  struct {
    double tokens = 0, pairs = 0;
  } mean_;
  int64_t block_;
};

}  // namespace

double most_context_rows(double mean, int64_t block) {
  return mean + std::max(kContextRowsSlack * mean, 2.0 * double(block));
}

ContextPlan plan_context(std::span<const int32_t> cu_seqlens, int ranks, int64_t block,
                         std::span<const int32_t> offsets) {
  ELASTRON_CHECK(ranks >= 1 && block >= 1 && !cu_seqlens.empty(), "plan_context: nothing to cut");
  ELASTRON_CHECK(offsets.empty() || offsets.size() + 1 == cu_seqlens.size(),
                 "plan_context: an offset for each sequence");
  const auto sequences = by_pairs(cu_seqlens, offsets);
  size_t cut = 0;
  for (;;) {
    Deal deal(sequences, cut, ranks, block);
    if (cut == sequences.size() || deal.even()) return std::move(deal).plan();
    // One more; of many short ones some more, so that few deals are tried.
    cut = std::min(sequences.size(), cut + 1 + cut / 8);
  }
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
