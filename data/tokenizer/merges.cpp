#include "data/tokenizer/merges.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <queue>
#include <string>

#include "core/error.h"

namespace elastron::data {

namespace {

// Up to here scanning all pairs for the lowest rank is faster than a queue.
constexpr size_t kShort = 48;

}  // namespace

Merges::Merges(const std::vector<Merge>& merges, const std::array<int32_t, 256>& byte_ids)
    : byte_ids_(byte_ids), slots_(std::bit_ceil(2 * merges.size() + 1)) {
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

void Merges::apply(std::string_view word, std::vector<int32_t>& ids) const {
  if (word.size() <= kShort) {
    apply_short(word, ids);
  } else {
    apply_long(word, ids);
  }
}

void Merges::apply_short(std::string_view word, std::vector<int32_t>& ids) const {
  std::array<int32_t, kShort> tokens;
  std::array<const Slot*, kShort> pairs;  // pairs[i]: tokens i and i + 1
  size_t count = word.size();
  for (size_t i = 0; i < count; ++i) tokens[i] = byte_ids_[uint8_t(word[i])];
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

void Merges::apply_long(std::string_view word, std::vector<int32_t>& ids) const {
  if (word.size() >= size_t(INT32_MAX)) {
    throw InputError("a word of " + std::to_string(word.size()) + " bytes", "text to tokenize",
                     "at most 2 GiB are accepted");
  }
  // A linked list of tokens by the place of their first byte; `rank` is that of the pair which a
  // token begins.
  struct Symbol {
    int32_t token, previous, next;
    uint32_t rank;
  };
  const auto count = int32_t(word.size());
  std::vector<Symbol> symbols(word.size());
  // Pairs to merge, by rank and then place. An entry whose pair is gone is passed over: a symbol
  // only grows, so a pair at a place never comes back.
  std::vector<uint64_t> entries;
  entries.reserve(word.size());
  const auto entry = [](uint32_t rank, int32_t place) {
    return uint64_t(rank) << 32 | uint32_t(place);
  };
  for (int32_t i = 0; i < count; ++i) {
    symbols[size_t(i)] = {byte_ids_[uint8_t(word[size_t(i)])], i - 1, i + 1 < count ? i + 1 : -1,
                          kNone};
  }
  const auto rank_of = [&](int32_t place) {
    const Symbol& symbol = symbols[size_t(place)];
    return symbol.next < 0 ? kNone : find(symbol.token, symbols[size_t(symbol.next)].token).rank;
  };
  for (int32_t i = 0; i < count; ++i) {
    symbols[size_t(i)].rank = rank_of(i);
    if (symbols[size_t(i)].rank != kNone) entries.push_back(entry(symbols[size_t(i)].rank, i));
  }
  std::priority_queue queue(std::greater<>{}, std::move(entries));
  const auto renew = [&](int32_t place) {
    const uint32_t rank = rank_of(place);
    symbols[size_t(place)].rank = rank;
    if (rank != kNone) queue.push(entry(rank, place));
  };
  while (!queue.empty()) {
    const auto rank = uint32_t(queue.top() >> 32);
    const auto place = int32_t(queue.top() & UINT32_MAX);
    queue.pop();
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
