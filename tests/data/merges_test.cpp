// Merging against the definition, done naively, with merges in any order.
#include "data/tokenizer/merges.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "core/philox.h"

namespace elastron::data {
namespace {

using Ids = std::vector<int32_t>;

Ids naive(const std::vector<Merge>& merges, Ids tokens) {
  std::map<std::pair<int32_t, int32_t>, size_t> rank_of;
  for (size_t i = 0; i < merges.size(); ++i) rank_of[{merges[i].left, merges[i].right}] = i;
  for (;;) {
    size_t lowest = merges.size(), at = 0;
    for (size_t i = 0; i + 1 < tokens.size(); ++i) {
      const auto it = rank_of.find({tokens[i], tokens[i + 1]});
      if (it != rank_of.end() && it->second < lowest) {
        lowest = it->second;
        at = i;
      }
    }
    if (lowest == merges.size()) return tokens;
    tokens[at] = merges[lowest].result;
    tokens.erase(tokens.begin() + ptrdiff_t(at) + 1);
  }
}

TEST(Merges, LowestRankFirstThenLeftmost) {
  RandomStream random(3, RandomPurpose::test);
  for (int round = 0; round < 400; ++round) {
    // Tokens over one to three letters; each new one joins two that are there.
    const uint32_t letters = 1 + random.next_below(3);
    std::vector<std::pair<std::string, int32_t>> tokens;
    std::map<std::string, int32_t> id_of;
    for (uint32_t i = 0; i < letters; ++i)
      tokens.emplace_back(std::string(1, char('a' + i)), 'a' + i);
    std::vector<Merge> merges;
    for (uint32_t i = 0, most = random.next_below(40); i < most; ++i) {
      const auto left = tokens[random.next_below(uint32_t(tokens.size()))];
      const auto right = tokens[random.next_below(uint32_t(tokens.size()))];
      const auto [it, fresh] =
          id_of.try_emplace(left.first + right.first, 256 + int32_t(id_of.size()));
      if (fresh) tokens.emplace_back(it->first, it->second);
      merges.push_back({left.second, right.second, it->second});
    }
    for (size_t i = merges.size(); i > 1; --i) {
      std::swap(merges[i - 1], merges[random.next_below(uint32_t(i))]);
    }
    const Merges ours(merges);
    for (const uint32_t longest : {8u, 48u, 49u, 400u}) {
      std::string word(1 + random.next_below(longest), 'a');
      for (char& c : word) c = char('a' + random.next_below(letters));
      Ids ids = {-7};  // appended to
      const Ids letters_of_word(word.begin(), word.end());
      ours.apply(letters_of_word, ids);
      Ids expected = naive(merges, letters_of_word);
      expected.insert(expected.begin(), -7);
      ASSERT_EQ(ids, expected) << word;
    }
  }
}

}  // namespace
}  // namespace elastron::data
