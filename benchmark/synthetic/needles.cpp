// Needles in a haystack: codes of lockers, hidden in sentences, in an essay, or among other codes.
#include <fmt/format.h>

#include <set>

#include "benchmark/synthetic/draft.h"
#include "benchmark/synthetic/lexicon.h"
#include "core/error.h"

namespace elastron::benchmark {

namespace {

enum class Haystack : uint8_t { noise, essay, needles };
enum class Text : uint8_t { word, number, identifier };

struct Kind {
  std::string_view name;
  Haystack haystack;
  Text key, value;
  int keys = 1;    // in the text, those that are asked for among them
  int asked = 1;   // keys
  int values = 1;  // of each key that is asked for
};
constexpr Kind kKinds[] = {
    {"niah_single_1", Haystack::noise, Text::word, Text::number},
    {"niah_single_2", Haystack::essay, Text::word, Text::number},
    {"niah_single_3", Haystack::essay, Text::word, Text::identifier},
    {"niah_multikey_1", Haystack::essay, Text::word, Text::number, 4},
    {"niah_multikey_2", Haystack::needles, Text::word, Text::number},
    {"niah_multikey_3", Haystack::needles, Text::identifier, Text::identifier},
    {"niah_multivalue", Haystack::essay, Text::word, Text::number, 1, 1, 4},
    {"niah_multiquery", Haystack::essay, Text::word, Text::number, 4, 4},
};

const Kind& kind_of(std::string_view name) {
  for (const Kind& kind : kKinds) {
    if (kind.name == name) return kind;
  }
  throw LogicError("no kind of needles: " + std::string(name));
}

std::string identifier(RandomStream& draws) {
  const uint32_t a = draws.next_bits(), b = draws.next_bits(), c = draws.next_bits(),
                 d = draws.next_bits();
  return fmt::format("{:08x}-{:04x}-{:04x}-{:04x}-{:04x}{:08x}", a, b >> 16, b & 0xffff, c >> 16,
                     c & 0xffff, d);
}

std::string number(RandomStream& draws) {
  return std::to_string(1000000 + draws.next_below(9000000));
}

std::string drawn_text(Text what, bool many_keys, RandomStream& draws) {
  switch (what) {
    case Text::number: return number(draws);
    case Text::identifier: return identifier(draws);
    case Text::word: break;
  }
  return many_keys ? long_key_word(draws.next_below(40 * kMadeUpWords))
                   : key_word(draws.next_below(kKeys));
}

std::string needle_text(const std::string& key, const std::string& value) {
  return fmt::format("Please note that the locker of {} opens with the code {}.", key, value);
}

std::string listed(const std::vector<std::string>& items) {
  std::string text;
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) text += i + 1 == items.size() ? " and " : ", ";
    text += items[i];
  }
  return text;
}

std::function<std::string(int64_t)> filler_of(const Kind& kind, const Draws& draws,
                                              const std::set<std::string>& taken) {
  if (kind.haystack == Haystack::noise) {
    return [](int64_t unit) { return noise_sentence(uint64_t(unit)); };
  }
  RandomStream stream = draws.stream(Draws::For::filler);
  if (kind.haystack == Haystack::essay) {
    return [stream](int64_t unit) {
      uint32_t bits[6];
      for (size_t i = 0; i < 6; ++i) bits[i] = stream.bits_at(uint64_t(unit) * 6 + i);
      return essay_sentence(bits);
    };
  }
  return [stream, kind, taken](int64_t unit) {
    // A stream of its own for each line, from which another key may be drawn.
    RandomStream line(stream.bits_at(uint64_t(unit)), RandomPurpose::synthetic_data,
                      uint32_t(unit));
    std::string key;
    do key = drawn_text(kind.key, true, line);
    while (taken.contains(key));
    return needle_text(key, drawn_text(kind.value, true, line));
  };
}

}  // namespace

Draft needle_draft(std::string_view name, const Draws& draws, double first_depth) {
  const Kind& kind = kind_of(name);
  const bool lines = kind.haystack == Haystack::needles;
  RandomStream needles = draws.stream(Draws::For::needles);
  RandomStream depths = draws.stream(Draws::For::depths);
  std::set<std::string> taken;
  std::vector<std::string> asked;
  std::vector<Needle> hidden;
  Draft draft;
  const int facts = kind.asked * kind.values;
  for (int k = 0; k < kind.keys; ++k) {
    std::string key;
    do key = drawn_text(kind.key, lines, needles);
    while (!taken.insert(key).second);
    const bool is_asked = k < kind.asked;
    if (is_asked) asked.push_back(key);
    for (int v = 0; v < (is_asked ? kind.values : 1); ++v) {
      const std::string value = drawn_text(kind.value, lines, needles);
      // Facts that are asked for are spread evenly from the first one on, others lie anywhere.
      const double place = first_depth + double(draft.outputs.size()) / double(facts);
      hidden.push_back({is_asked ? (place > 1 ? place - 1 : place) : double(depths.next_uniform()),
                        needle_text(key, value)});
      if (is_asked) draft.outputs.push_back(value);
    }
  }
  const std::string which = listed(asked);
  const bool several = facts > 1;
  const auto filler = filler_of(kind, draws, taken);
  draft.input = [=](int64_t units) {
    return fmt::format(
        "The text below mentions the codes of some lockers. Read it with care, as you will be "
        "asked "
        "about them afterwards.\n\n{}\n\nQuestion: according to the text, which {} the {} of {}? "
        "Name {}.",
        with_needles(filler, units, hidden, lines ? "\n" : " "),
        several ? "codes open" : "code opens", asked.size() > 1 ? "lockers" : "locker", which,
        several ? "every code" : "the code");
  };
  draft.answer_prefix = fmt::format(
      " According to the text, the {} of {} {} with {}", asked.size() > 1 ? "lockers" : "locker",
      which, asked.size() > 1 ? "open" : "opens", several ? "the codes" : "the code");
  return draft;
}

}  // namespace elastron::benchmark
