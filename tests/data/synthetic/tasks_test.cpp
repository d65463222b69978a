// The tasks are what they claim: exact lengths, pure, solvable from the whole text, and solvable
// from a window only where the kind is robust.
#include "data/synthetic/tasks.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <sstream>

#include "core/error.h"
#include "tests/data/support.h"

namespace elastron::data {
namespace {

using Words = std::vector<std::string>;

constexpr int64_t kSink = 32;    // words that sparse heads see at the start
constexpr int64_t kWindow = 32;  // and before the word they stand at
constexpr uint64_t kSeed = 11;

Words split(const std::string& text) {
  std::istringstream in(text);
  Words words;
  for (std::string w; in >> w;) words.push_back(w);
  return words;
}

bool is_a(const std::string& word, const std::string& stem) {
  return word.size() > stem.size() && word.starts_with(stem) &&
         std::ranges::all_of(word.substr(stem.size()), [](char c) { return c >= '0' && c <= '9'; });
}

// Positions of `word` in `words`.
std::vector<int64_t> places(const Words& words, const std::string& word) {
  std::vector<int64_t> at;
  for (size_t i = 0; i < words.size(); ++i) {
    if (words[i] == word) at.push_back(int64_t(i));
  }
  return at;
}

// The word after `key`, where `key` stands once (`nth` of its places), and where that was.
struct Found {
  std::string word;
  int64_t at = -1;
};
std::optional<Found> after(const Words& words, const std::string& key, bool want_value) {
  for (const int64_t at : places(words, key)) {
    if (at + 1 >= int64_t(words.size())) continue;
    const std::string& next = words[size_t(at + 1)];
    if (is_a(next, want_value ? "v" : "k")) return Found{next, at};
  }
  return std::nullopt;
}

std::string common_topic(const Words& words) {
  std::map<int, int> votes;
  for (const std::string& w : words) {
    if (is_a(w, "t")) ++votes[std::stoi(w.substr(1)) / 4];
  }
  const auto most = std::ranges::max_element(
      votes, [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == votes.end() ? "" : "topic" + std::to_string(most->first);
}

// What a reader of `seen` (context words it can see) answers; nullopt where it cannot know. `first`
// receives the place of the earliest, `last` that of the latest word it needed.
std::optional<Words> solve(SyntheticKind kind, const Words& seen, const Words& question,
                           size_t answer_size, int64_t* first = nullptr, int64_t* last = nullptr) {
  const auto note = [&](int64_t a, int64_t b) {
    if (first) *first = std::min(a, b);
    if (last) *last = std::max(a, b);
  };
  Words answer;
  switch (kind) {
    case SyntheticKind::needle: {
      const auto found = after(seen, "secret", true);
      if (!found) return std::nullopt;
      note(found->at, found->at);
      return Words{found->word};
    }
    case SyntheticKind::recall: {
      const auto found = after(seen, question.back(), true);
      if (!found) return std::nullopt;
      note(found->at, found->at);
      return Words{found->word};
    }
    case SyntheticKind::trace: {
      const auto hop = after(seen, question.back(), false);
      if (!hop) return std::nullopt;
      const auto value = after(seen, hop->word, true);
      if (!value) return std::nullopt;
      note(hop->at, value->at);
      return Words{hop->word, value->word};
    }
    case SyntheticKind::hops: {
      std::string at = question.back();
      for (int hop = 1; hop <= 4; ++hop) {
        const auto next = after(seen, at, hop == 4);
        if (!next) return std::nullopt;
        note(next->at, next->at);
        answer.push_back(at = next->word);
      }
      return answer;
    }
    case SyntheticKind::count: {
      const auto at = places(seen, question.back());
      if (at.empty()) return std::nullopt;
      note(at.front(), at.back());
      return Words{"times" + std::to_string(at.size())};
    }
    case SyntheticKind::gist: return Words{common_topic(seen)};
    case SyntheticKind::continuation: {
      int at = std::stoi(question.back().substr(1));
      for (size_t i = 0; i < answer_size; ++i) answer.push_back("s" + std::to_string(++at % 16));
      return answer;
    }
    case SyntheticKind::pattern: {
      const auto same = places(seen, question.back());
      const int64_t period = same[1] - same[0];
      for (size_t i = 0; i < answer_size; ++i) {
        answer.push_back(seen[seen.size() - size_t(period) + i % size_t(period)]);
      }
      return answer;
    }
    case SyntheticKind::repeat: return std::nullopt;
  }
  return std::nullopt;
}

constexpr SyntheticKind kTasks[] = {SyntheticKind::needle,       SyntheticKind::recall,
                                    SyntheticKind::trace,        SyntheticKind::gist,
                                    SyntheticKind::continuation, SyntheticKind::pattern,
                                    SyntheticKind::hops,         SyntheticKind::count};

TEST(SyntheticTasks, HaveTheAskedLengthAndKnownWords) {
  const auto& vocabulary = synthetic_vocabulary();
  const std::set<std::string> known(vocabulary.begin(), vocabulary.end());
  EXPECT_EQ(known.size(), vocabulary.size()) << "a word stands twice";
  EXPECT_LE(vocabulary.size(), 510u);
  for (int k = 0; k < kSyntheticKinds; ++k) {
    for (const int64_t length : {64, 65, 100, 256, 1023, 4096}) {
      for (uint64_t i = 0; i < 4; ++i) {
        const Record r = synthetic_record(kSeed, SyntheticKind(k), i, {.length = length});
        SCOPED_TRACE(r.kind + " " + std::to_string(length));
        int64_t words = 0;
        for (const auto* part : {&r.context, &r.question, &r.answer}) {
          const Words w = split(*part);
          EXPECT_FALSE(w.empty());
          words += int64_t(w.size());
          for (const std::string& x : w) EXPECT_TRUE(known.contains(x)) << x;
        }
        EXPECT_EQ(words, length);
        EXPECT_EQ(r.kind, synthetic_kind_name(SyntheticKind(k)));
        EXPECT_EQ(r.task, synthetic_kind_task(SyntheticKind(k)));
        EXPECT_FALSE(r.is_prefix);
      }
    }
  }
}

TEST(SyntheticTasks, AreAFunctionOfTheirArguments) {
  std::set<std::string> contexts;
  int expected = 0;
  for (int k = 0; k < kSyntheticKinds; ++k) {
    const SyntheticKind kind = SyntheticKind(k);
    for (const uint64_t seed : {1ull, 2ull, 1ull << 40}) {
      for (const uint64_t index : {0ull, 1ull, 1ull << 33}) {
        const Record a = synthetic_record(seed, kind, index, {.length = 300});
        synthetic_record(seed, kind, index + 5, {.length = 300});
        const Record b = synthetic_record(seed, kind, index, {.length = 300});
        EXPECT_EQ(a.context, b.context);
        EXPECT_EQ(a.question, b.question);
        EXPECT_EQ(a.answer, b.answer);
        contexts.insert(a.context);
        ++expected;
      }
    }
  }
  EXPECT_EQ(int(contexts.size()), expected) << "two examples are the same";
}

TEST(SyntheticTasks, AreSolvableFromTheWholeText) {
  for (const SyntheticKind kind : kTasks) {
    for (const int64_t length : {64, 256, 1000}) {
      for (uint64_t i = 0; i < 50; ++i) {
        const Record r = synthetic_record(kSeed, kind, i, {.length = length});
        const Words answer = split(r.answer);
        const auto solved = solve(kind, split(r.context), split(r.question), answer.size());
        ASSERT_TRUE(solved) << r.kind << " " << length << " " << i;
        EXPECT_EQ(*solved, answer) << r.kind << " " << length << " " << i;
      }
    }
  }
}

// What the question asks for stands once, behind the sinks, at least `clearance` before the
// question.
TEST(SyntheticTasks, KeepFarFactsFar) {
  for (const SyntheticKind kind : kTasks) {
    if (!synthetic_kind_is_sensitive(kind)) continue;
    for (const auto& [length, clearance] :
         {std::pair<int64_t, int64_t>{256, 96}, {512, 96}, {1024, 200}, {4096, 1000}}) {
      for (uint64_t i = 0; i < 100; ++i) {
        const Record r =
            synthetic_record(kSeed, kind, i, {.length = length, .clearance = clearance});
        const Words context = split(r.context), question = split(r.question);
        const std::string key = kind == SyntheticKind::needle ? "secret" : question.back();
        if (kind != SyntheticKind::count) {
          EXPECT_EQ(places(context, key).size(), 1u) << r.kind;
        }
        int64_t first = 0, last = 0;
        ASSERT_TRUE(solve(kind, context, question, 0, &first, &last));
        EXPECT_GE(first, kSink) << r.kind;
        EXPECT_LE(last + 1, int64_t(context.size()) - clearance) << r.kind << " " << length;
      }
    }
  }
}

TEST(SyntheticTasks, RobustKindsNeedNoMoreThanAWindow) {
  constexpr int kCount = 300;
  for (const SyntheticKind kind : kTasks) {
    if (synthetic_kind_is_sensitive(kind)) continue;
    int right = 0;
    for (uint64_t i = 0; i < kCount; ++i) {
      const Record r = synthetic_record(kSeed, kind, i, {.length = 700});
      const Words context = split(r.context), question = split(r.question);
      // The window ends with the question and starts at a block: half of it is a safe reckoning.
      const Words window(context.end() - kWindow / 2, context.end());
      const Words answer = split(r.answer);
      Words seen(context.begin(), context.begin() + 16);
      seen.insert(seen.end(), window.begin(), window.end());
      const auto solved =
          solve(kind, kind == SyntheticKind::gist ? seen : window, question, answer.size());
      right += solved && *solved == answer;
    }
    EXPECT_GE(right, kCount * 99 / 100) << synthetic_kind_name(kind);
  }
}

// Without the far facts nothing is known: no value is likelier than another, neither by itself nor
// because it stands, or does not stand, in what a window shows, nor by its rank among the facts.
TEST(SyntheticTasks, SensitiveAnswersCannotBeGuessed) {
  constexpr int kCount = 3000;
  for (const SyntheticKind kind : kTasks) {
    if (!synthetic_kind_is_sensitive(kind) || kind == SyntheticKind::count) continue;
    std::map<std::string, int> answers;
    int in_window = 0, first_fact = 0, last_fact = 0;
    for (uint64_t i = 0; i < kCount; ++i) {
      const Record r = synthetic_record(kSeed, kind, i, {.length = 256});
      const Words context = split(r.context);
      const std::string value = split(r.answer).back();
      ++answers[value];
      in_window += std::find(context.end() - kWindow, context.end(), value) != context.end();
      Words values;
      for (size_t j = 1; j + 1 < context.size(); ++j) {
        if (is_a(context[j], "v") && context[j + 1] == ".") values.push_back(context[j]);
      }
      if (values.size() > 1) {
        first_fact += values.front() == value;
        last_fact += values.back() == value;
      }
    }
    EXPECT_EQ(answers.size(), 32u);
    for (const auto& [value, count] : answers) {
      EXPECT_NEAR(count, kCount / 32.0, 5 * std::sqrt(kCount / 32.0)) << value;
    }
    // Two noise values stand in a window on average: a value is among them in about 6 of 100.
    EXPECT_LT(in_window, kCount / 10) << synthetic_kind_name(kind);
    // Two to eight facts: the first or last is asked for at most half of the time, by chance 17 to
    // 43 of 100; of the two chains of `hops` each half of the time.
    const double most =
        kind == SyntheticKind::hops ? kCount / 2.0 + 4 * std::sqrt(kCount / 4.0) : kCount / 2.0;
    EXPECT_LT(first_fact, most) << synthetic_kind_name(kind);
    EXPECT_LT(last_fact, most) << synthetic_kind_name(kind);
  }
}

// Every number of times is as likely, and none of the marks stands where a window sees it.
TEST(SyntheticTasks, CountsCannotBeGuessed) {
  constexpr int kCount = 3000;
  std::map<std::string, int> answers;
  for (uint64_t i = 0; i < kCount; ++i) {
    const Record r = synthetic_record(kSeed, SyntheticKind::count, i, {.length = 256});
    const Words context = split(r.context);
    ++answers[split(r.answer).back()];
    EXPECT_EQ(std::find(context.end() - kWindow, context.end(), "mark"), context.end());
    EXPECT_EQ(std::find(context.begin(), context.begin() + kSink, "mark"), context.begin() + kSink);
  }
  EXPECT_EQ(answers.size(), 8u);
  for (const auto& [times, count] : answers) {
    EXPECT_NEAR(count, kCount / 8.0, 5 * std::sqrt(kCount / 8.0)) << times;
  }
}

// Tokenizers from before the harder kinds still do for the others.
TEST(SyntheticTasks, HarderKindsHaveWordsOfTheirOwn) {
  const auto& all = synthetic_vocabulary();
  const auto first = synthetic_vocabulary(SyntheticKind::recall);
  ASSERT_EQ(first.size(), all.size() - 11);
  EXPECT_EQ(std::set<std::string>(all.begin() + int64_t(first.size()), all.end()),
            (std::set<std::string>{"path", "count", "mark", "times1", "times2", "times3", "times4",
                                   "times5", "times6", "times7", "times8"}));
  EXPECT_EQ(synthetic_vocabulary(SyntheticKind::hops).size(), all.size());
  for (int k = 0; k < kSyntheticKinds; ++k) {
    const auto kind = SyntheticKind(k);
    const auto words = synthetic_vocabulary(kind);
    const std::set<std::string> known(words.begin(), words.end());
    for (uint64_t i = 0; i < 20; ++i) {
      const Record r = synthetic_record(kSeed, kind, i, {.length = 300});
      for (const auto* part : {&r.context, &r.question, &r.answer}) {
        for (const std::string& w : split(*part)) EXPECT_TRUE(known.contains(w)) << w;
      }
    }
  }
}

// Each word of a repeated segment but the first follows the word it followed in the context.
TEST(SyntheticTasks, RepeatCopiesWhatStandsOnceInTheContext) {
  for (const int64_t length : {64, 256, 2048}) {
    int copied = 0, words = 0;
    for (uint64_t i = 0; i < 20; ++i) {
      const Record r = synthetic_record(kSeed, SyntheticKind::repeat, i, {.length = length});
      const Words context = split(r.context);
      std::string before = split(r.question).back();
      for (const std::string& word : split(r.answer)) {
        const auto at = places(context, before);
        ASSERT_EQ(at.size(), 1u) << before;
        ++words;
        copied += at[0] + 1 < int64_t(context.size()) && context[size_t(at[0] + 1)] == word;
        before = word;
      }
    }
    EXPECT_GT(copied, words * 7 / 10) << length;
    EXPECT_LT(copied, words) << "segments never change places";
  }
}

TEST(SyntheticTasks, TokenizerHasOneIdPerWord) {
  const auto json = nlohmann::json::parse(synthetic_tokenizer_json());
  EXPECT_EQ(json["model"]["type"], "WordLevel");
  EXPECT_EQ(json["pre_tokenizer"]["type"], "WhitespaceSplit");
  const auto& vocabulary = json["model"]["vocab"];
  EXPECT_EQ(vocabulary["<unk>"], 0);
  EXPECT_EQ(vocabulary["<eos>"], 1);
  const auto& words = synthetic_vocabulary();
  ASSERT_EQ(vocabulary.size(), words.size() + 2);
  for (size_t i = 0; i < words.size(); ++i) EXPECT_EQ(vocabulary[words[i]], i + 2) << words[i];
}

TEST(SyntheticTasks, UnknownKindIsAUsageErrorThatListsTheKnown) {
  EXPECT_EQ(synthetic_kind_from_name("trace"), SyntheticKind::trace);
  try {
    synthetic_kind_from_name("haystack");
    FAIL() << "accepted";
  } catch (const UsageError& e) {
    EXPECT_NE(std::string(e.what()).find("haystack"), std::string::npos);
    EXPECT_NE(std::string(e.what()).find("needle, recall, trace"), std::string::npos);
  }
}

}  // namespace
}  // namespace elastron::data
