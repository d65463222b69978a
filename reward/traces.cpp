#include "reward/traces.h"

#include <algorithm>
#include <array>
#include <optional>

#include "core/error.h"
#include "core/philox.h"

namespace elastron::reward {

namespace {

using Words = std::vector<std::string>;

constexpr std::array<std::string_view, 2> kPatterns = {"sequential", "mixed"};
constexpr std::array<std::string_view, 4> kFaults = {"noise", "drop", "delayed", "contradictory"};

constexpr std::array<std::string_view, 32> kNames = {
    "Alice", "Bruno", "Clara", "David", "Elena",  "Felix", "Grace",  "Hugo",
    "Irene", "Jonas", "Karin", "Laura", "Marco",  "Nadia", "Oscar",  "Paula",
    "Quinn", "Rosa",  "Simon", "Tanja", "Ulrich", "Vera",  "Walter", "Xenia",
    "Yusuf", "Zoe",   "Bella", "Carl",  "Diana",  "Emil",  "Frieda", "Georg"};
constexpr std::array<std::string_view, 32> kPlaces = {
    "attic",  "bakery",  "cellar",   "garage",   "garden",  "hallway",  "kitchen", "library",
    "market", "museum",  "office",   "orchard",  "park",    "pharmacy", "school",  "stable",
    "studio", "theatre", "workshop", "bathroom", "bedroom", "balcony",  "church",  "harbour",
    "hotel",  "station", "stadium",  "tower",    "factory", "chapel",   "castle",  "bridge"};
constexpr std::array<std::string_view, 16> kEveryday = {"The morning was quiet .",
                                                        "Someone had left a window open .",
                                                        "It rained for an hour and then stopped .",
                                                        "A dog barked in the distance .",
                                                        "Nobody spoke about the weather any more .",
                                                        "The newspaper lay unread on the table .",
                                                        "A train went by .",
                                                        "Lunch was later than usual .",
                                                        "The clock on the wall had stopped .",
                                                        "Two letters had come with the post .",
                                                        "The lights were switched on early .",
                                                        "There was music from next door .",
                                                        "The tea had gone cold .",
                                                        "Someone laughed .",
                                                        "The street was almost empty .",
                                                        "A new calendar hung by the door ."};
constexpr int64_t kValues = 32;  // of either lexicon, as many as entities

std::string coded(std::string_view stem, uint32_t i) {
  return std::string(stem) + std::to_string(i);
}

void append_text(Words& words, std::string_view text) {
  while (!text.empty()) {
    const size_t end = text.find(' ');
    words.emplace_back(text.substr(0, end));
    text = end == text.npos ? std::string_view{} : text.substr(end + 1);
  }
}

std::string join(const Words& words) {
  std::string text;
  for (const std::string& w : words) text.append(text.empty() ? "" : " ").append(w);
  return text;
}

// The words of a lexicon.
class Language {
 public:
  explicit Language(Lexicon lexicon) : english_(lexicon == Lexicon::english) {}

  void fact(Words& to, uint32_t entity, uint32_t value) const {
    if (english_) {
      for (const std::string_view w :
           {kNames[entity], std::string_view("moved"), std::string_view("to"),
            std::string_view("the"), kPlaces[value], std::string_view(".")}) {
        to.emplace_back(w);
      }
    } else {
      entry(to, entity, value);
    }
  }
  void entry(Words& to, uint32_t entity, uint32_t value) const {
    if (english_) {
      append_text(to,
                  std::string(kNames[entity]) + " is in the " + std::string(kPlaces[value]) + " .");
    } else {
      to.push_back(coded("k", entity));
      to.push_back(coded("v", value));
      to.emplace_back(".");
    }
  }
  int64_t fact_words() const { return english_ ? 6 : 3; }
  // Words that say nothing, `count` of them or a few more or less; at least `count` in coded text.
  void noise(Words& to, RandomStream& random, int64_t count) const {
    if (!english_) {
      for (int64_t i = 0; i < count; ++i) to.push_back(coded("n", random.next_below(32)));
      return;
    }
    for (const size_t end = to.size() + size_t(std::max<int64_t>(count, 0)); to.size() + 3 < end;) {
      append_text(to, kEveryday[random.next_below(uint32_t(kEveryday.size()))]);
    }
  }
  void section(Words& to, uint32_t number) const {
    if (english_) {
      append_text(to, "Section " + std::to_string(number + 1) + " .");
    } else {
      append_text(to, "topic");
      to.push_back(coded("s", number % 16));
    }
  }
  void step(Words& to, uint32_t number, std::string_view what) const {
    if (english_) {
      append_text(to, std::string(what) + " " + std::to_string(number + 1) + " :");
    } else {
      append_text(to, "next");
      to.push_back(coded("s", number % 16));
    }
  }
  void merged(Words& to) const { append_text(to, english_ ? "Merged memory :" : "again"); }
  void question(Words& to, uint32_t entity) const {
    if (english_) {
      append_text(to, "Where is " + std::string(kNames[entity]) + " now ?");
    } else {
      append_text(to, "lookup key");
      to.push_back(coded("k", entity));
    }
  }
  void answer(Words& to, uint32_t entity, uint32_t value) const {
    append_text(to, english_ ? "Answer :" : "answer");
    entry(to, entity, value);
  }

 private:
  bool english_;
};

struct Fact {
  uint32_t entity, value;
  bool operator==(const Fact&) const = default;
};
using Memory = std::vector<Fact>;

struct Update {
  size_t section;  // where it is stated
  Fact before, after;
};

struct Story {
  std::vector<std::vector<Fact>> sections;  // facts as they are stated, in order
  std::vector<Update> updates;
  uint32_t asked = 0;
};

void note(Memory& memory, Fact fact) {
  for (Fact& f : memory) {
    if (f.entity == fact.entity) {
      f.value = fact.value;
      return;
    }
  }
  memory.push_back(fact);
}

std::optional<uint32_t> value_in(const Memory& memory, uint32_t entity) {
  for (const Fact& f : memory) {
    if (f.entity == entity) return f.value;
  }
  return {};
}

std::vector<uint32_t> distinct(RandomStream& random, int64_t count, int64_t of) {
  std::vector<uint32_t> all(static_cast<size_t>(of));
  for (uint32_t i = 0; i < all.size(); ++i) all[i] = i;
  for (int64_t i = 0; i < count; ++i) {
    std::swap(all[size_t(i)], all[size_t(i) + random.next_below(uint32_t(of - i))]);
  }
  all.resize(size_t(count));
  return all;
}

Story make_story(RandomStream& random, const TraceOptions& options) {
  Story story;
  const auto sections = size_t(options.sections);
  story.sections.resize(sections);
  const auto entities = distinct(random, options.entities, kValues);
  // Values differ, so that a wrong one is never right for somebody else by chance of the draw.
  const auto values = distinct(random, 2 * options.entities, kValues);
  size_t next_value = 0;
  // All but the last section introduce someone; those of the first half may move later on.
  for (size_t i = 0; i < entities.size(); ++i) {
    const size_t section = i < sections - 1 ? i : random.next_below(uint32_t(sections - 1));
    story.sections[section].push_back({entities[i], values[next_value++]});
  }
  const size_t moves = std::max<size_t>(entities.size() / 2, 1);
  const auto movers = distinct(random, int64_t(moves), int64_t(entities.size()));
  for (size_t m = 0; m < moves; ++m) {
    const uint32_t entity = entities[movers[m]];
    for (size_t s = 0; s + 1 < sections; ++s) {
      const auto before = value_in(story.sections[s], entity);
      if (!before) continue;
      // The first move leaves a section behind it, in which what was noted can turn wrong.
      const size_t last = m == 0 && s + 2 < sections ? sections - 1 : sections;
      const size_t to = s + 1 + random.next_below(uint32_t(last - s - 1));
      const Fact after = {entity, values[next_value++]};
      story.sections[to].push_back(after);
      story.updates.push_back({to, {entity, *before}, after});
      break;
    }
  }
  for (auto& facts : story.sections) {
    for (size_t i = 0; i + 1 < facts.size(); ++i) {
      std::swap(facts[i], facts[i + random.next_below(uint32_t(facts.size() - i))]);
    }
  }
  story.asked = entities[random.next_below(uint32_t(entities.size()))];
  return story;
}

// Memories in the order of the trace; in the mixed pattern the last one is the merged one.
std::vector<Memory> faithful(const Story& story, TracePattern pattern) {
  std::vector<Memory> steps;
  Memory all;
  for (const auto& facts : story.sections) {
    Memory own;
    for (const Fact& f : facts) {
      note(all, f);
      note(own, f);
    }
    steps.push_back(pattern == TracePattern::sequential ? all : own);
  }
  if (pattern == TracePattern::mixed) steps.push_back(all);
  return steps;
}

uint32_t unused_value(RandomStream& random, const Story& story) {
  for (;;) {
    const uint32_t value = random.next_below(uint32_t(kValues));
    bool used = false;
    for (const auto& facts : story.sections) {
      for (const Fact& f : facts) used = used || f.value == value;
    }
    if (!used) return value;
  }
}

// An entry gives way to a second copy of another one, or nothing where there is no other.
void lose(Memory& memory, uint32_t entity, RandomStream& random) {
  for (size_t i = 0; i < memory.size(); ++i) {
    if (memory[i].entity != entity) continue;
    if (memory.size() == 1) {
      memory.clear();
      return;
    }
    const size_t other = random.next_below(uint32_t(memory.size() - 1));
    memory[i] = memory[other < i ? other : other + 1];
    return;
  }
}

std::vector<Memory> faulty(std::vector<Memory> steps, const Story& story, TracePattern pattern,
                           TraceFault fault, RandomStream& random) {
  const bool mixed = pattern == TracePattern::mixed;
  const size_t last = steps.size() - 1;
  const auto set = [&](size_t step, uint32_t entity, uint32_t value) {
    for (Fact& f : steps[step]) {
      if (f.entity == entity) f.value = value;
    }
  };
  switch (fault) {
    case TraceFault::noise: {
      size_t step = random.next_below(uint32_t(steps.size()));
      while (steps[step].empty()) step = (step + 1) % steps.size();
      const auto i = random.next_below(uint32_t(steps[step].size()));
      steps[step][i].value = unused_value(random, story);
      break;
    }
    case TraceFault::drop: {
      const auto& facts = steps[last];
      const uint32_t entity = facts[random.next_below(uint32_t(facts.size()))].entity;
      for (Memory& memory : steps) lose(memory, entity, random);
      break;
    }
    case TraceFault::delayed: {
      const auto& u = story.updates[random.next_below(uint32_t(story.updates.size()))];
      // A branch of its own has no older value to keep: it is the merging that comes too early.
      set(mixed ? last : u.section, u.after.entity, u.before.value);
      break;
    }
    case TraceFault::contradictory: {
      const Update& u = story.updates.front();
      if (!mixed && u.section < last) {
        for (size_t s = u.section + 1; s <= last; ++s) set(s, u.after.entity, u.before.value);
        break;
      }
      // Somebody else's value.
      uint32_t value = u.before.value;
      for (const Fact& f : steps[last]) {
        if (f.entity != u.after.entity) value = f.value;
      }
      set(last, u.after.entity, value);
      break;
    }
  }
  return steps;
}

std::string trace_text(const Language& language, const std::vector<Memory>& steps, bool mixed,
                       uint32_t asked, RandomStream& random) {
  Words words;
  for (size_t s = 0; s < steps.size(); ++s) {
    if (mixed && s + 1 == steps.size()) {
      language.merged(words);
    } else {
      language.step(words, uint32_t(s), mixed ? "Part" : "Memory");
    }
    for (const Fact& f : steps[s]) language.entry(words, f.entity, f.value);
    if (steps[s].empty()) language.noise(words, random, language.fact_words());
    // As long as it likes in either trace: length says nothing.
    language.noise(words, random, int64_t(random.next_below(4)) * (language.fact_words() / 3));
  }
  // What the last memory says; who is not in it is where nobody said.
  const auto value = value_in(steps.back(), asked);
  language.answer(words, asked, value ? *value : random.next_below(uint32_t(kValues)));
  return join(words);
}

}  // namespace

std::string trace_kind_name(int kind) {
  return std::string(kPatterns[size_t(kind) / kFaults.size()]) + "-" +
         std::string(kFaults[size_t(kind) % kFaults.size()]);
}

std::vector<std::pair<int, double>> trace_mix(const std::map<std::string, double>& kinds) {
  std::vector<std::pair<int, double>> mix;
  std::string known;
  for (int k = 0; k < kTraceKinds; ++k) {
    const std::string name = trace_kind_name(k);
    known += (known.empty() ? "" : ", ") + name;
    if (kinds.empty()) mix.emplace_back(k, 1.0);
  }
  for (const auto& [name, weight] : kinds) {
    int kind = 0;
    while (kind < kTraceKinds && trace_kind_name(kind) != name) ++kind;
    if (kind == kTraceKinds) {
      throw UsageError("unknown kind '" + name + "'", "reward.traces.kinds", "use " + known);
    }
    if (!(weight > 0)) {
      throw UsageError("the weight of '" + name + "' is not positive", "reward.traces.kinds",
                       "leave the kind out, or give it a weight above 0");
    }
    mix.emplace_back(kind, weight);
  }
  std::ranges::sort(mix);
  return mix;
}

Lexicon lexicon_for(Lexicon wanted, const data::Tokenizer& tokenizer) {
  if (wanted != Lexicon::automatic) return wanted;
  const bool coded_words = tokenizer.id("k31") && tokenizer.id("v31") && tokenizer.id("n31");
  return coded_words ? Lexicon::coded : Lexicon::english;
}

TracePair trace_pair(uint64_t seed, int kind, uint64_t index, const TraceOptions& options) {
  ELASTRON_CHECK(kind >= 0 && kind < kTraceKinds && options.lexicon != Lexicon::automatic,
                 "a kind and a lexicon");
  ELASTRON_CHECK(options.entities >= 2 && 2 * options.entities < kValues && options.sections >= 3,
                 "2 to 15 entities, 3 or more sections");
  const auto pattern = TracePattern(size_t(kind) / kFaults.size());
  const auto fault = TraceFault(size_t(kind) % kFaults.size());
  // A stream for the story and one for each trace: the chosen one does not depend on the fault.
  const auto stream = [&](uint32_t part) {
    return RandomStream(seed, RandomPurpose::synthetic_data, uint32_t(index),
                        uint32_t(index >> 32) << 8 | 0x80u | part,
                        0x80000000u | uint32_t(options.length));
  };
  RandomStream of_story = stream(0), of_chosen = stream(1),
               of_rejected = stream(2 + uint32_t(kind));
  const Language language(options.lexicon);
  const Story story = make_story(of_story, options);
  const bool mixed = pattern == TracePattern::mixed;
  const auto steps = faithful(story, pattern);
  TracePair pair;
  pair.chosen = trace_text(language, steps, mixed, story.asked, of_chosen);
  pair.rejected = trace_text(language, faulty(steps, story, pattern, fault, of_rejected), mixed,
                             story.asked, of_rejected);

  Words words;
  int64_t fixed = 5, facts = 0;
  for (const auto& section : story.sections) facts += int64_t(section.size());
  fixed += facts * language.fact_words() + 3 * options.sections;
  fixed += 1 + int64_t(std::ranges::count(pair.chosen, ' '));
  const int64_t noise = options.length - fixed;
  if (noise < 0) {
    throw UsageError("length " + std::to_string(options.length) + " cannot hold the facts",
                     "reward.traces.lengths",
                     "use more than " + std::to_string(fixed) + ", or fewer entities");
  }
  for (size_t s = 0; s < story.sections.size(); ++s) {
    language.section(words, uint32_t(s));
    const auto& section = story.sections[s];
    int64_t left = noise / options.sections;
    for (size_t f = 0; f <= section.size(); ++f) {
      const bool last = f == section.size();
      const int64_t here = last ? left : int64_t(of_story.next_below(uint32_t(left + 1)));
      language.noise(words, of_story, here);
      left -= here;
      if (!last) language.fact(words, section[f].entity, section[f].value);
    }
  }
  language.question(words, story.asked);
  pair.prompt = join(words);
  return pair;
}

}  // namespace elastron::reward
