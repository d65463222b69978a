// Made-up traces, checked by reading them again: tests/reward/trace_replay.h.
#include "reward/traces.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <functional>

#include "core/error.h"
#include "data/synthetic/tasks.h"
#include "tests/reward/trace_replay.h"

namespace elastron::reward {
namespace {

struct Setting {
  Lexicon lexicon;
  int64_t length, entities, sections;
  bool english() const { return lexicon == Lexicon::english; }
  TraceOptions options() const {
    return {.lexicon = lexicon, .length = length, .entities = entities, .sections = sections};
  }
};
void PrintTo(const Setting& s, std::ostream* out) {
  *out << (s.english() ? "english" : "coded") << " " << s.length << " words, " << s.entities
       << " entities, " << s.sections << " sections";
}

const Setting kTiny = {Lexicon::coded, 512, 4, 3}, kEnglish = {Lexicon::english, 512, 4, 3};

bool is_mixed(int kind) { return trace_pattern(kind) == TracePattern::mixed; }

// How a rejected trace differs from the right memories: (who, value) that should not stand there,
// and who should.
struct Difference {
  std::set<std::pair<std::string, std::string>> wrong;
  std::set<std::string> missing;
  std::set<size_t> steps;
};

Difference difference(const std::vector<Memory>& right, const std::vector<Memory>& written) {
  Difference d;
  for (size_t s = 0; s < right.size(); ++s) {
    for (const auto& [who, where] : written[s]) {
      const auto it = right[s].find(who);
      if (it == right[s].end() || it->second != where) {
        d.wrong.insert({who, where});
        d.steps.insert(s);
      }
    }
    for (const auto& [who, where] : right[s]) {
      if (!written[s].contains(who)) {
        d.missing.insert(who);
        d.steps.insert(s);
      }
    }
  }
  return d;
}

// `who` was at `where` once and has moved on by the end of section `section`.
bool is_older(const Told& told, const std::string& who, const std::string& where, size_t section) {
  for (size_t s = 0; s < section; ++s) {
    if (told.where(who, 0, s + 1) == where && told.where(who, 0, section + 1) != where) return true;
  }
  return false;
}

void expect_fault(const Told& told, const Trace& rejected, int kind) {
  const auto right = told.memories(told.cast, is_mixed(kind));
  const Difference d = difference(right, rejected.steps);
  ASSERT_FALSE(d.wrong.empty());
  const auto [who, where] = *d.wrong.begin();
  switch (trace_fault(kind)) {
    case TraceFault::noise:
      EXPECT_EQ(d.wrong.size(), 1u);
      EXPECT_TRUE(d.missing.empty());
      EXPECT_TRUE(told.cast.contains(who));
      EXPECT_FALSE(told.states(where)) << where;
      break;
    case TraceFault::drop: {
      ASSERT_EQ(d.missing.size(), 1u);
      EXPECT_NE(*d.missing.begin(), told.asked);
      EXPECT_FALSE(told.cast.contains(who));
      // Faithful but for the choice of whom to note.
      auto cast = told.cast;
      cast.erase(*d.missing.begin());
      cast.insert(who);
      EXPECT_EQ(rejected.steps, told.memories(cast, is_mixed(kind)));
      break;
    }
    case TraceFault::delayed:
      EXPECT_EQ(d.wrong.size(), 1u);
      EXPECT_TRUE(d.missing.empty());
      for (const size_t step : d.steps) {
        const size_t section = std::min(step, told.sections.size() - 1);
        EXPECT_TRUE(is_older(told, who, where, section)) << who << " " << where;
      }
      EXPECT_EQ(d.steps.contains(right.size() - 1), is_mixed(kind));
      EXPECT_TRUE(!is_mixed(kind) || d.steps.size() == 1);
      break;
    case TraceFault::contradictory: {
      // What was stated of one is noted of another, who was noted right before.
      bool found = false;
      for (const auto& [victim, value] : d.wrong) {
        for (const std::string& owner : told.cast) {
          for (size_t s = 1; s < told.sections.size(); ++s) {
            if (owner == victim || told.where(owner, s, s + 1) != value) continue;
            found = true;
            EXPECT_FALSE(told.where(victim, 0, s).empty());
            EXPECT_TRUE(is_mixed(kind) ||
                        rejected.steps[s - 1].at(victim) == right[s - 1].at(victim));
            EXPECT_EQ(rejected.steps.back().at(victim), value);
            EXPECT_EQ(rejected.steps.back().at(owner), told.where(owner, 0, s));
          }
        }
      }
      EXPECT_TRUE(found);
      break;
    }
  }
}

class Traces : public ::testing::TestWithParam<Setting> {};

TEST_P(Traces, ChosenIsFaithfulRejectedHasItsFault) {
  const Setting& setting = GetParam();
  for (int kind = 0; kind < kTraceKinds; ++kind) {
    for (uint64_t index = 0; index < 60; ++index) {
      SCOPED_TRACE(trace_kind_name(kind) + " " + std::to_string(index));
      const TracePair pair = trace_pair(7, kind, index, setting.options());
      const Told told = read_prompt(pair.prompt, setting.english());
      ASSERT_EQ(int64_t(told.cast.size()), setting.entities);
      ASSERT_EQ(int64_t(told.sections.size()), setting.sections);
      ASSERT_TRUE(told.cast.contains(told.asked));
      const Trace chosen = read_trace(pair.chosen, setting.english());
      const Trace rejected = read_trace(pair.rejected, setting.english());
      EXPECT_EQ(chosen.steps, told.memories(told.cast, is_mixed(kind)));
      expect_fault(told, rejected, kind);
      EXPECT_EQ(chosen.headings, rejected.headings);
      EXPECT_EQ(chosen.entries, rejected.entries);
      for (const Trace* trace : {&chosen, &rejected}) {
        EXPECT_EQ(trace->answer.first, told.asked);
        EXPECT_EQ(trace->answer.second, trace->steps.back().at(told.asked));
      }
      if (HasFailure()) {
        FAIL() << pair.prompt << "\n\nchosen: " << pair.chosen << "\n\nrejected: " << pair.rejected;
      }
    }
  }
}

TEST_P(Traces, ArePureFunctionsOfTheirArguments) {
  const TraceOptions options = GetParam().options();
  std::set<std::string> prompts, faults;
  for (int kind = 0; kind < kTraceKinds; ++kind) {
    const TracePair pair = trace_pair(7, kind, 3, options);
    trace_pair(8, kind, 3, options);
    const TracePair again = trace_pair(7, kind, 3, options);
    EXPECT_EQ(pair.prompt, again.prompt);
    EXPECT_EQ(pair.chosen, again.chosen);
    EXPECT_EQ(pair.rejected, again.rejected);
    EXPECT_NE(pair.prompt, trace_pair(8, kind, 3, options).prompt);
    EXPECT_NE(pair.prompt, trace_pair(7, kind, 4, options).prompt);
    EXPECT_NE(pair.prompt, trace_pair(7, kind, 3 + (uint64_t(1) << 32), options).prompt);
    // A pattern's four faults share prompt and chosen trace.
    EXPECT_EQ(pair.prompt, trace_pair(7, kind / 4 * 4, 3, options).prompt);
    EXPECT_EQ(pair.chosen, trace_pair(7, kind / 4 * 4, 3, options).chosen);
    prompts.insert(pair.prompt);
    faults.insert(pair.rejected);
  }
  EXPECT_EQ(prompts.size(), 2u);
  EXPECT_EQ(faults.size(), size_t(kTraceKinds));
}

TEST_P(Traces, AreAsLongAsAsked) {
  const Setting& setting = GetParam();
  for (int kind = 0; kind < kTraceKinds; kind += 3) {
    const TracePair pair = trace_pair(1, kind, 5, setting.options());
    const auto words = int64_t(words_of(pair.prompt).size() + words_of(pair.chosen).size());
    EXPECT_LE(std::abs(words - setting.length), setting.english() ? 8 : 0);
    EXPECT_EQ(word_count(pair.prompt), int64_t(words_of(pair.prompt).size()));
  }
}

INSTANTIATE_TEST_SUITE_P(Settings, Traces,
                         ::testing::Values(kTiny, kEnglish, Setting{Lexicon::coded, 128, 2, 3},
                                           Setting{Lexicon::english, 256, 3, 5},
                                           Setting{Lexicon::coded, 4096, 19, 16},
                                           Setting{Lexicon::english, 16384, 29, 64}));

TEST(TraceLength, UpToTheLongestAndFactsAllOver) {
  for (const Lexicon lexicon : {Lexicon::english, Lexicon::coded}) {
    const bool english = lexicon == Lexicon::english;
    for (const int64_t length : {4096, 65536, 131072}) {
      const TracePair pair = trace_pair(
          3, 0, 1, {.lexicon = lexicon, .length = length, .entities = 19, .sections = 16});
      const auto words = words_of(pair.prompt);
      const auto all = int64_t(words.size() + words_of(pair.chosen).size());
      EXPECT_LE(std::abs(all - length), english ? 8 : 0);
      // Some in each sixth of the text.
      std::array<int, 6> facts{};
      for (size_t i = 0; i + 3 < words.size(); ++i) {
        const bool fact = english ? words[i + 2] == "to" && words[i + 3] == "the"
                                  : is_numbered(words[i], 'k') && is_numbered(words[i + 1], 'v');
        if (fact) ++facts[i * 6 / words.size()];
      }
      for (const int count : facts) EXPECT_GT(count, 0);
      if (!english || length < 131072) continue;
      std::set<std::string> sentences;
      std::istringstream in(pair.prompt);
      for (std::string sentence; std::getline(in, sentence, '.');) sentences.insert(sentence);
      EXPECT_GT(sentences.size(), 5000u);
    }
  }
}

// The tiny backbone knows every word of coded pairs.
TEST(TraceLexicon, CodedWordsAreThoseOfTheSyntheticTasks) {
  const auto& vocabulary = data::synthetic_vocabulary();
  const std::set<std::string> known(vocabulary.begin(), vocabulary.end());
  for (int kind = 0; kind < kTraceKinds; ++kind) {
    for (uint64_t index = 0; index < 20; ++index) {
      const TracePair pair =
          trace_pair(5, kind, index,
                     {.lexicon = Lexicon::coded, .length = 2048, .entities = 9, .sections = 16});
      for (const std::string& text : {pair.prompt, pair.chosen, pair.rejected}) {
        for (const std::string& word : words_of(text)) EXPECT_TRUE(known.contains(word)) << word;
      }
    }
  }
}

// What can be told without the prompt: how often "more is better" is right, a tie worth a half.
// 4000 pairs of each kind: chance strays from a half by more than 0.04 once in 2 000 000 times.
TEST(TraceBalance, NoLengthTellsChosenFromRejected) {
  for (const Setting& setting : {kTiny, kEnglish}) {
    TraceOptions options = setting.options();
    options.length = 192;
    const bool english = setting.english();
    using Measure = std::function<int64_t(const std::string&, const Trace&)>;
    const auto most = [](const std::vector<int64_t>& v) { return std::ranges::max(v); };
    const std::vector<std::pair<std::string, Measure>> measures = {
        {"characters", [](const std::string& text, const Trace&) { return int64_t(text.size()); }},
        {"words", [](const std::string& text, const Trace&) { return word_count(text); }},
        {"sentences",
         [](const std::string& text, const Trace&) { return std::ranges::count(text, '.'); }},
        {"longest step", [&](const std::string&, const Trace& t) { return most(t.words); }},
        {"first step", [](const std::string&, const Trace& t) { return t.words.front(); }},
        {"last step", [](const std::string&, const Trace& t) { return t.words.back(); }},
        {"distinct words",
         [](const std::string& text, const Trace&) {
           const auto words = words_of(text);
           return int64_t(std::set<std::string>(words.begin(), words.end()).size());
         }},
        {"length of names and values",
         [](const std::string&, const Trace& t) {
           int64_t n = 0;
           for (const Memory& memory : t.steps) {
             for (const auto& [who, where] : memory) n += int64_t(who.size() + where.size());
           }
           return n;
         }},
        {"distinct entries", [](const std::string&, const Trace& t) {
           std::set<std::pair<std::string, std::string>> entries;
           for (const Memory& memory : t.steps) entries.insert(memory.begin(), memory.end());
           return int64_t(entries.size());
         }}};
    constexpr int kPairs = 4000;
    std::vector<double> all(measures.size());
    for (int kind = 0; kind < kTraceKinds; ++kind) {
      std::vector<double> right(measures.size());
      for (uint64_t index = 0; index < kPairs; ++index) {
        const TracePair pair = trace_pair(11, kind, index, options);
        const Trace chosen = read_trace(pair.chosen, english);
        const Trace rejected = read_trace(pair.rejected, english);
        for (size_t m = 0; m < measures.size(); ++m) {
          const int64_t c = measures[m].second(pair.chosen, chosen);
          const int64_t r = measures[m].second(pair.rejected, rejected);
          right[m] += c > r ? 1.0 : c == r ? 0.5 : 0.0;
        }
      }
      for (size_t m = 0; m < measures.size(); ++m) {
        EXPECT_NEAR(right[m] / kPairs, 0.5, 0.04)
            << measures[m].first << " " << trace_kind_name(kind);
        all[m] += right[m];
      }
    }
    for (size_t m = 0; m < measures.size(); ++m) {
      EXPECT_NEAR(all[m] / (kPairs * kTraceKinds), 0.5, 0.015) << measures[m].first;
    }
  }
}

TEST(TraceErrors, NameTheKey) {
  const auto message = [](const std::function<void()>& act) {
    try {
      act();
    } catch (const UsageError& error) {
      return std::string(error.what());
    }
    return std::string("no error");
  };
  const auto of = [&](TraceOptions options) {
    return message([&] { trace_pair(1, 0, 0, options); });
  };
  std::string text;
  for (const Setting& setting :
       {kTiny, kEnglish, Setting{Lexicon::english, 0, 29, 64}, Setting{Lexicon::coded, 0, 2, 3}}) {
    TraceOptions options = setting.options();
    options.length = 64;
    text = of(options);
    EXPECT_NE(text.find("reward.traces.lengths"), text.npos) << text;
    // The length it asks for is enough for any story, and one less is not.
    options.length = std::stoll(text.substr(text.find("use ") + 4)) - 1;
    EXPECT_NE(of(options), "no error");
    ++options.length;
    for (int kind = 0; kind < kTraceKinds; ++kind) {
      for (uint64_t index = 0; index < 30; ++index) {
        const TracePair pair = trace_pair(1, kind, index, options);
        EXPECT_LE(word_count(pair.prompt) + word_count(pair.chosen), options.length + 8);
      }
    }
  }
  text = of({.length = kLongestTrace + 1});
  EXPECT_NE(text.find("reward.traces.lengths"), text.npos) << text;
  text = of({.lexicon = Lexicon::coded, .length = 4096, .entities = 20});
  EXPECT_NE(text.find("reward.traces.entities"), text.npos) << text;
  text = of({.lexicon = Lexicon::coded, .length = 4096, .sections = 17});
  EXPECT_NE(text.find("reward.traces.sections"), text.npos) << text;
  text = message([] { trace_mix({{"mixed-noise", 1.0}, {"mixed-up", 1.0}}); });
  EXPECT_NE(text.find("'mixed-up'"), text.npos) << text;
  EXPECT_NE(text.find("sequential-contradictory"), text.npos) << text;
  EXPECT_NE(message([] { trace_mix({{"mixed-noise", 0.0}}); }), "no error");
  EXPECT_EQ(trace_mix({}).size(), size_t(kTraceKinds));
  EXPECT_EQ(trace_mix({{"mixed-noise", 2.0}}), (std::vector<std::pair<int, double>>{{4, 2.0}}));
}

}  // namespace
}  // namespace elastron::reward
