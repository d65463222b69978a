#include "data/tokenizer/merges.h"

#include <algorithm>
#include <array>
#include <bit>
#include <functional>
#include <queue>
#include <string>
#include <unordered_map>

#include "core/error.h"

namespace elastron::data {

namespace {

// Up to here scanning all pairs for the lowest rank is faster than a queue.
constexpr size_t kShort = 48;

// Pairs to merge, by rank and then by place. Those of one rank mostly come in the order of their
// places, so that a list does for them; one heap of all would run through memory at random.
class PairQueue {
 public:
  void push(uint32_t rank, int32_t place) {
    const auto [it, fresh] = places_.try_emplace(rank);
    if (fresh) ranks_.push(rank);
    Places& places = it->second;
    if (places.next == places.ordered.size()) {
      places.ordered.clear();
      places.next = 0;
    }
    if (places.ordered.empty() || place > places.ordered.back()) {
      places.ordered.push_back(place);
    } else {
      places.late.push(place);
    }
  }
  // Removes the first and returns true, or false when there is none.
  bool pop(uint32_t& rank, int32_t& place) {
    for (; !ranks_.empty(); places_.erase(ranks_.top()), ranks_.pop()) {
      Places& places = places_.find(ranks_.top())->second;
      const bool some = places.next < places.ordered.size();
      if (!some && places.late.empty()) continue;
      rank = ranks_.top();
      if (some && (places.late.empty() || places.ordered[places.next] <= places.late.top())) {
        place = places.ordered[places.next++];
      } else {
        place = places.late.top();
        places.late.pop();
      }
      return true;
    }
    return false;
  }

 private:
  template <class T>
  using Lowest = std::priority_queue<T, std::vector<T>, std::greater<T>>;
  struct Places {
    std::vector<int32_t> ordered;  // from `next` on
    size_t next = 0;
    Lowest<int32_t> late;
  };
  std::unordered_map<uint32_t, Places> places_;
  Lowest<uint32_t> ranks_;  // of places_
};

}  // namespace

Merges::Merges(const std::vector<Merge>& merges) : slots_(std::bit_ceil(2 * merges.size() + 1)) {
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const auto& [left, right, result] = merges[rank];
    size_t at = slot_of(left, right);
    while (slots_[at].left >= 0 && (slots_[at].left != left || slots_[at].right != right)) {
      at = (at + 1) & (slots_.size() - 1);
    }
    slots_[at] = {left, right, uint32_t(rank), result};
  }
}

size_t Merges::slot_of(int32_t left, int32_t right) const {
  uint64_t mixed = uint64_t(uint32_t(left)) << 32 | uint32_t(right);
  mixed *= 0x9e3779b97f4a7c15u;
  mixed ^= mixed >> 32;
  mixed *= 0x9e3779b97f4a7c15u;
  return size_t(mixed >> 20) & (slots_.size() - 1);
}

const Merges::Slot& Merges::find(int32_t left, int32_t right) const {
  size_t at = slot_of(left, right);
  // A free slot has rank kNone: it is the answer too.
  while (slots_[at].left >= 0 && (slots_[at].left != left || slots_[at].right != right)) {
    at = (at + 1) & (slots_.size() - 1);
  }
  return slots_[at];
}

void Merges::apply(std::span<const int32_t> word, std::vector<int32_t>& ids) const {
  if (word.size() <= kShort) {
    apply_short(word, ids);
  } else {
    apply_long(word, ids);
  }
}

void Merges::apply_short(std::span<const int32_t> word, std::vector<int32_t>& ids) const {
  std::array<int32_t, kShort> tokens;
  std::array<const Slot*, kShort> pairs;  // pairs[i]: tokens i and i + 1
  size_t count = word.size();
  std::copy(word.begin(), word.end(), tokens.begin());
  for (size_t i = 0; i + 1 < count; ++i) pairs[i] = &find(tokens[i], tokens[i + 1]);
  while (count > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < count; ++i) {
      if (pairs[i]->rank < pairs[best]->rank) best = i;
    }
    if (pairs[best]->rank == kNone) break;
    tokens[best] = pairs[best]->result;
    --count;
    std::copy(tokens.data() + best + 2, tokens.data() + count + 1, tokens.data() + best + 1);
    if (best + 1 < count) {
      std::copy(pairs.data() + best + 2, pairs.data() + count, pairs.data() + best + 1);
      pairs[best] = &find(tokens[best], tokens[best + 1]);
    }
    if (best > 0) pairs[best - 1] = &find(tokens[best - 1], tokens[best]);
  }
  ids.insert(ids.end(), tokens.begin(), tokens.begin() + ptrdiff_t(count));
}

void Merges::apply_long(std::span<const int32_t> word, std::vector<int32_t>& ids) const {
  if (word.size() >= size_t(INT32_MAX)) {
    throw InputError("a word of " + std::to_string(word.size()) + " tokens", "text to tokenize",
                     "at most 2^31 are accepted");
  }
  // A linked list of tokens by the place of their first byte; `rank` is that of the pair which a
  // token begins.
  struct Symbol {
    int32_t token, previous, next;
    uint32_t rank;
  };
  const auto count = int32_t(word.size());
  std::vector<Symbol> symbols(word.size());
  // An entry whose pair is gone is passed over: a symbol only grows, so a pair at a place never
  // comes back.
  PairQueue queue;
  for (int32_t i = 0; i < count; ++i) {
    symbols[size_t(i)] = {word[size_t(i)], i - 1, i + 1 < count ? i + 1 : -1, kNone};
  }
  const auto rank_of = [&](int32_t place) {
    const Symbol& symbol = symbols[size_t(place)];
    return symbol.next < 0 ? kNone : find(symbol.token, symbols[size_t(symbol.next)].token).rank;
  };
  const auto renew = [&](int32_t place) {
    const uint32_t rank = rank_of(place);
    symbols[size_t(place)].rank = rank;
    if (rank != kNone) queue.push(rank, place);
  };
  for (int32_t i = 0; i < count; ++i) renew(i);
  uint32_t rank = 0;
  for (int32_t place = 0; queue.pop(rank, place);) {
    Symbol& left = symbols[size_t(place)];
    if (left.rank != rank) continue;
    Symbol& right = symbols[size_t(left.next)];
    left.token = find(left.token, right.token).result;
    right.rank = kNone;  // gone
    left.next = right.next;
    if (left.next >= 0) symbols[size_t(left.next)].previous = place;
    renew(place);
    if (left.previous >= 0) renew(left.previous);
  }
  for (int32_t i = 0; i >= 0; i = symbols[size_t(i)].next) ids.push_back(symbols[size_t(i)].token);
}

}  // namespace elastron::data
