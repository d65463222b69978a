// docs/method.md, Worked values of pairs, 7, and every policy on pairs around the limit.
#include "reward/overlong.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "core/error.h"

namespace elastron::reward {
namespace {

std::vector<int32_t> numbers(int64_t count, int32_t first = 0) {
  std::vector<int32_t> ids(static_cast<size_t>(count));
  std::iota(ids.begin(), ids.end(), first);
  return ids;
}

TEST(Overlong, ThePublishedRule) {
  constexpr int64_t kLimit = 131072;
  EXPECT_EQ(without_middle(numbers(131071), kLimit), numbers(131071));
  for (const int64_t count : {131072, 200000}) {
    const auto kept = without_middle(numbers(count), kLimit);
    ASSERT_EQ(kept.size(), 131067u);
    EXPECT_EQ(kept[65535], 65535);
    EXPECT_EQ(kept[65536], count - 65531);
    EXPECT_EQ(kept.back(), count - 1);
  }
}

const PairIds kLong = {numbers(20), {100, 101}, {{200, 201, 202}}};

TEST(Overlong, ErrorNamesRowLengthAndLimit) {
  try {
    fit_pair(kLong, 16, Overlong::error, "f.jsonl:7");
    FAIL();
  } catch (const InputError& error) {
    const std::string text = error.what();
    EXPECT_EQ(text.find("a pair of 23 tokens, of which 20 are the prompt; the limit is 16 "
                        "(f.jsonl:7)"),
              0u)
        << text;
  }
}

TEST(Overlong, DropPair) {
  const FittedPair fitted = fit_pair(kLong, 16, Overlong::drop_pair, "");
  EXPECT_TRUE(fitted.dropped());
  EXPECT_EQ(drop_reason_text(fitted.drop_reason), "longer than the limit");
  EXPECT_FALSE(fit_pair(kLong, 23, Overlong::drop_pair, "").dropped());
  EXPECT_TRUE(fit_pair(kLong, 22, Overlong::drop_pair, "").dropped());
}

// What published trainers do, and this does not: cut on the right, both sides become the prompt.
TEST(Overlong, RightCutWouldMakeBothSidesEqual) {
  auto chosen = kLong.prompt, rejected = kLong.prompt;
  chosen.insert(chosen.end(), kLong.chosen.begin(), kLong.chosen.end());
  rejected.insert(rejected.end(), kLong.rejected[0].begin(), kLong.rejected[0].end());
  chosen.resize(16);
  rejected.resize(16);
  EXPECT_EQ(chosen, rejected);
}

TEST(Overlong, TruncatedPromptsStayTheSame) {
  const PairIds pair = {numbers(100), {500, 501}, {{600, 601, 602}, {700}}};
  const FittedPair fitted = fit_pair(pair, 24, Overlong::truncate_prompt_middle, "");
  ASSERT_FALSE(fitted.dropped());
  EXPECT_TRUE(fitted.truncated);
  EXPECT_EQ(fitted.shared, 21);
  for (size_t i = 0; i < 3; ++i) {
    const auto& response = i == 0 ? pair.chosen : pair.rejected[i - 1];
    const auto& s = fitted.sequences[i];
    ASSERT_EQ(s.size(), 21 + response.size());
    EXPECT_EQ(s[10], 10);
    EXPECT_EQ(s[11], 90);
    EXPECT_EQ(s[20], 99);
    EXPECT_TRUE(std::equal(response.begin(), response.end(), s.begin() + 21));
  }
  // No room for a prompt beside the response.
  EXPECT_TRUE(fit_pair({numbers(100), numbers(30), {{1}}}, 40, Overlong::truncate_prompt_middle, "")
                  .dropped());
}

TEST(Overlong, TruncatedMiddlesOfWholeSequences) {
  const PairIds pair = {numbers(10), numbers(30, 100), {numbers(3, 200)}};
  const FittedPair fitted = fit_pair(pair, 20, Overlong::truncate_middle, "");
  ASSERT_FALSE(fitted.dropped());
  EXPECT_TRUE(fitted.truncated);
  ASSERT_EQ(fitted.sequences[0].size(), 15u);
  EXPECT_EQ(fitted.sequences[0][9], 9);
  EXPECT_EQ(fitted.sequences[0][10], 125);
  EXPECT_EQ(fitted.sequences[1].size(), 13u);
  EXPECT_EQ(fitted.shared, 10);
}

TEST(Overlong, EqualPairsAreDropped) {
  const FittedPair fitted = fit_pair({{1}, {2, 3}, {{4}, {2, 3}}}, 100, Overlong::error, "");
  EXPECT_TRUE(fitted.dropped());
  EXPECT_EQ(drop_reason_text(fitted.drop_reason), "equal after tokenising");
  // Cut down to what they have in common.
  auto same_end = numbers(60, 50);
  PairIds pair = {numbers(50), same_end, {same_end}};
  pair.rejected[0][5] = 7;
  EXPECT_TRUE(fit_pair(pair, 40, Overlong::truncate_middle, "").dropped());
}

// Whatever a cut leaves: the last tokens of a sequence that are of its response.
TEST(Overlong, WhatIsLeftOfAResponse) {
  const auto left = [](int64_t prompt, int64_t response, int64_t limit) {
    PairIds pair;
    for (int64_t i = 0; i < prompt; ++i) pair.prompt.push_back(int32_t(i));
    for (int64_t i = 0; i < response; ++i) pair.chosen.push_back(int32_t(1000 + i));
    pair.rejected = {{7}};
    const auto fitted = fit_pair(pair, limit, Overlong::truncate_middle, "");
    const auto& ids = fitted.sequences[0];
    int64_t counted = 0;
    for (const int32_t id : ids) counted += id >= 1000 ? 1 : 0;
    EXPECT_EQ(fitted.response_tokens[0], counted) << prompt << " " << response;
    EXPECT_EQ(fitted.response_tokens[1], 1);
    return counted;
  };
  EXPECT_EQ(left(10, 5, 40), 5);    // nothing cut
  EXPECT_EQ(left(100, 5, 40), 5);   // the prompt loses its middle
  EXPECT_EQ(left(30, 50, 40), 15);  // the tail is all response
  EXPECT_EQ(left(5, 100, 40), 30);  // the response loses its middle
  EXPECT_EQ(left(0, 100, 40), 35);
}

// What the last token that counts is, by what a classifier pads with.
TEST(WithoutPadding, EndsWhereTheLibraryScores) {
  using Ids = std::vector<int32_t>;
  const auto cut = [](const PairIds& pair, int32_t padding) {
    return without_padding(fit_pair(pair, 100, Overlong::error, ""), padding);
  };
  const PairIds pair = {{1, 2}, {3, 9}, {{4, 9, 9}, {9, 5}}};
  FittedPair fitted = cut(pair, 9);
  EXPECT_EQ(fitted.sequences, (std::vector<Ids>{{1, 2, 3}, {1, 2, 4}, {1, 2, 9, 5}}));
  EXPECT_EQ(fitted.shared, 2);
  EXPECT_EQ(fitted.response_tokens, (std::vector<int64_t>{1, 1, 2}));
  EXPECT_EQ(cut(pair, 8).sequences[0], (Ids{1, 2, 3, 9}));
  // A response that is padding alone: the prompt's last token is scored, and stands in every
  // sequence by itself.
  fitted = cut({{1, 2}, {9}, {{4, 9}}}, 9);
  EXPECT_EQ(fitted.sequences, (std::vector<Ids>{{1, 2}, {1, 2, 4}}));
  EXPECT_EQ(fitted.shared, 1);
  EXPECT_EQ(fitted.response_tokens, (std::vector<int64_t>{0, 1}));
  // Nothing but padding: the first token.
  fitted = cut({{9, 9}, {9}, {{4}}}, 9);
  EXPECT_EQ(fitted.sequences[0], Ids{9});
  EXPECT_EQ(fitted.shared, 0);
}

}  // namespace
}  // namespace elastron::reward
