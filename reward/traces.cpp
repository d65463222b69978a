#include "reward/traces.h"

#include <algorithm>
#include <array>

#include "core/error.h"
#include "core/philox.h"

namespace elastron::reward {

namespace {

constexpr std::array<std::string_view, 2> kPatterns = {"sequential", "mixed"};
constexpr std::array<std::string_view, 4> kFaults = {"noise", "drop", "delayed", "contradictory"};

struct Fact {
  uint32_t entity, value;
  bool operator==(const Fact&) const = default;
};
using Facts = std::vector<Fact>;

struct Update {
  size_t section;
  Fact fact;
  uint32_t partner;  // somebody known since the same section, who never moves again
};

struct Story {
  std::vector<Facts> sections;  // facts as they are stated, in order
  std::vector<Update> updates;
  std::vector<uint32_t> cast;  // whom the memory is about
  uint32_t asked = 0;
  // One of the cast, not the one asked for, and somebody else who is stated to move in the very
  // same sections.
  uint32_t lost = 0, bystander = 0;
  std::vector<uint32_t> unused;  // values
};

std::vector<uint32_t> shuffled(RandomStream& random, uint32_t count) {
  std::vector<uint32_t> all(count);
  for (uint32_t i = 0; i < count; ++i) all[i] = i;
  for (uint32_t i = 0; i + 1 < count; ++i) std::swap(all[i], all[i + random.next_below(count - i)]);
  return all;
}

Story make_story(RandomStream& random, const TraceOptions& options, uint32_t names) {
  Story story;
  const auto sections = size_t(options.sections), entities = size_t(options.entities);
  story.sections.resize(sections);
  const auto who = shuffled(random, names);
  // Values differ, so that a wrong one is never right by chance of the draw.
  auto values = shuffled(random, names);
  const auto state = [&](size_t section, uint32_t entity) {
    story.sections[section].push_back({entity, values.back()});
    values.pop_back();
    return story.sections[section].back();
  };
  // People come in twos, one of whom moves again later on. The first two come in the first section,
  // and their move leaves a section behind it, in whose memory it can be noted too late. The others
  // come evenly over all sections but the last.
  const size_t others = (entities - 1) / 2;  // twos, or one left over
  for (size_t first = 0; first < entities; first += 2) {
    size_t section = 0;
    if (first > 0) {
      const size_t from = (first / 2 - 1) * (sections - 1) / others;
      const size_t to = first / 2 * (sections - 1) / others;
      section = from + random.next_below(uint32_t(std::max<size_t>(to - from, 1)));
    }
    const size_t count = std::min<size_t>(2, entities - first);
    for (size_t i = first; i < first + count; ++i) state(section, who[i]);
    if (count < 2) continue;
    const size_t last = first == 0 ? sections - 2 : sections - 1;
    const size_t later = section + 1 + random.next_below(uint32_t(last - section));
    const size_t mover = first + random.next_below(2);
    story.updates.push_back({later, state(later, who[mover]), who[first + first + 1 - mover]});
  }
  story.cast.assign(who.begin(), who.begin() + std::ptrdiff_t(entities));
  const uint32_t asked = random.next_below(uint32_t(entities));
  const uint32_t other = random.next_below(uint32_t(entities) - 1);
  story.asked = story.cast[asked];
  story.lost = story.cast[other < asked ? other : other + 1];
  story.bystander = who[entities];
  for (size_t s = 0; s < sections; ++s) {
    Facts& facts = story.sections[s];
    const auto same = [&](const Fact& f) { return f.entity == story.lost; };
    if (std::ranges::any_of(facts, same)) state(s, story.bystander);
    for (size_t i = 0; i + 1 < facts.size(); ++i) {
      std::swap(facts[i], facts[i + random.next_below(uint32_t(facts.size() - i))]);
    }
  }
  for (size_t i = 0; i + 1 < entities; ++i) {
    std::swap(story.cast[i], story.cast[i + random.next_below(uint32_t(entities - i))]);
  }
  story.unused = std::move(values);
  return story;
}

void note(Facts& memory, Fact fact) {
  for (Fact& f : memory) {
    if (f.entity == fact.entity) {
      f.value = fact.value;
      return;
    }
  }
  memory.push_back(fact);
}

// In the order of the trace; in the mixed pattern the last one is the merged one.
std::vector<Facts> memories(const Story& story, TracePattern pattern) {
  std::vector<Facts> steps;
  Facts all;
  for (const Facts& facts : story.sections) {
    Facts own;
    for (const Fact& f : facts) {
      if (std::ranges::find(story.cast, f.entity) == story.cast.end()) continue;
      note(all, f);
      note(own, f);
    }
    steps.push_back(pattern == TracePattern::sequential ? all : own);
  }
  if (pattern == TracePattern::mixed) steps.push_back(all);
  return steps;
}

template <class T>
T& one_of(std::vector<T>& all, RandomStream& random) {
  return all[random.next_below(uint32_t(all.size()))];
}

Fact& find(Facts& facts, const Fact& fact) { return *std::ranges::find(facts, fact); }

// The memories of a story that was read wrong.
std::vector<Facts> faulty_memories(const Story& story, TracePattern pattern, TraceFault fault,
                                   RandomStream& random) {
  Story read = story;
  switch (fault) {
    case TraceFault::noise: {
      std::vector<Fact*> facts;
      for (Facts& section : read.sections) {
        for (Fact& f : section) {
          if (f.entity != story.bystander) facts.push_back(&f);
        }
      }
      one_of(facts, random)->value = one_of(read.unused, random);
      break;
    }
    case TraceFault::drop: *std::ranges::find(read.cast, story.lost) = story.bystander; break;
    case TraceFault::delayed: {
      const bool mixed = pattern == TracePattern::mixed;
      std::vector<Update> updates;
      for (const Update& u : story.updates) {
        if (mixed || u.section + 1 < story.sections.size()) updates.push_back(u);
      }
      const Update& u = one_of(updates, random);
      Facts& facts = read.sections[u.section];
      facts.erase(std::ranges::find(facts, u.fact));
      if (mixed) {
        // A branch has no older value to keep: it is the merging that misses the update.
        std::vector<Facts> steps = memories(story, pattern);
        steps.back() = memories(read, pattern).back();
        return steps;
      }
      const size_t left = story.sections.size() - u.section - 1;
      read.sections[u.section + 1 + random.next_below(uint32_t(left))].push_back(u.fact);
      break;
    }
    case TraceFault::contradictory: {
      const Update& u = one_of(read.updates, random);
      find(read.sections[u.section], u.fact).entity = u.partner;
      break;
    }
  }
  return memories(read, pattern);
}

std::string trace_text(const TraceLanguage& language, const std::vector<Facts>& steps,
                       TracePattern pattern, uint32_t asked, RandomStream& random) {
  TraceText text;
  for (size_t s = 0; s < steps.size(); ++s) {
    if (pattern == TracePattern::sequential) {
      language.memory(text, uint32_t(s));
    } else if (s + 1 < steps.size()) {
      language.branch(text, uint32_t(s));
    } else {
      language.merged(text);
    }
    for (const Fact& f : steps[s]) language.entry(text, f.entity, f.value);
    if (steps[s].empty()) language.no_entry(text);
    language.remark(text, random);
  }
  const Facts& last = steps.back();
  const auto about = std::ranges::find(last, asked, &Fact::entity);
  ELASTRON_CHECK(about != last.end(), "a trace notes whom the question is about");
  language.answer(text, asked, about->value);
  return text.take();
}

// Counts the words of a prompt without noise.
int64_t bare_words(const TraceLanguage& language, const Story& story) {
  RandomStream verbs(0, RandomPurpose::synthetic_data);  // of as many words each
  TraceText text;
  for (size_t s = 0; s < story.sections.size(); ++s) {
    language.section(text, uint32_t(s));
    for (const Fact& f : story.sections[s]) language.fact(text, verbs, f.entity, f.value);
  }
  language.task(text, story.cast);
  language.question(text, story.asked);
  return text.words();
}

// That holds the facts and the trace of any story, whatever the draw.
int64_t shortest_length(const TraceLanguage& language, const TraceOptions& options) {
  Story story;
  story.sections.resize(size_t(options.sections));
  const int64_t noted = options.entities + options.entities / 2;
  story.sections[0].resize(size_t(noted + 2));
  story.cast.resize(size_t(options.entities));
  TraceText entry, heading, answer;
  language.entry(entry, 0, 0);
  language.merged(heading);
  language.answer(answer, 0, 0);
  // Everybody in each memory: a mixed trace has fewer entries, and one step more.
  return bare_words(language, story) + answer.words() +
         options.sections * options.entities * entry.words() +
         (options.sections + 1) * (heading.words() + language.longest_remark());
}

// `words`: what the prompt may have, about; enough for the story without any noise.
std::string prompt_text(const TraceLanguage& language, const Story& story, int64_t words,
                        RandomStream& random) {
  const auto sections = int64_t(story.sections.size());
  const int64_t noise = words - bare_words(language, story);
  TraceText text;
  int64_t due = 0;  // words that stand by now, as if sentences could be cut anywhere
  for (int64_t s = 0; s < sections; ++s) {
    const Facts& facts = story.sections[size_t(s)];
    const int64_t here = noise * (s + 1) / sections - noise * s / sections;
    std::vector<int64_t> cuts;
    for (size_t f = 0; f < facts.size(); ++f) {
      cuts.push_back(int64_t(random.next_below(uint32_t(here + 1))));
    }
    std::ranges::sort(cuts);
    const auto count = [&](auto&& write) {
      const int64_t before = text.words();
      write();
      due += text.words() - before;
    };
    count([&] { language.section(text, uint32_t(s)); });
    int64_t written = 0;
    for (size_t f = 0; f < facts.size(); ++f) {
      due += cuts[f] - written;
      written = cuts[f];
      language.noise_until(text, random, due);
      count([&] { language.fact(text, random, facts[f].entity, facts[f].value); });
    }
    due += here - written;
    language.noise_until(text, random, due);
  }
  language.task(text, story.cast);
  language.question(text, story.asked);
  return text.take();
}

}  // namespace

TracePattern trace_pattern(int kind) { return TracePattern(size_t(kind) / kFaults.size()); }
TraceFault trace_fault(int kind) { return TraceFault(size_t(kind) % kFaults.size()); }

std::string trace_kind_name(int kind) {
  return std::string(kPatterns[size_t(trace_pattern(kind))]) + "-" +
         std::string(kFaults[size_t(trace_fault(kind))]);
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
  ELASTRON_CHECK(options.entities >= kFewestEntities && options.sections >= kFewestSections,
                 "two entities and three sections");
  const TraceLanguage language(options.lexicon);
  // A value each, another for each second one, two of a bystander, and one that is left.
  if (options.entities + options.entities / 2 + 3 > int64_t(language.names())) {
    throw UsageError("too few words for " + std::to_string(options.entities) + " entities",
                     "reward.traces.entities, or --entities",
                     "use at most " + std::to_string((language.names() - 3) * 2 / 3));
  }
  if (options.sections > language.most_sections()) {
    throw UsageError("too few words for " + std::to_string(options.sections) + " sections",
                     "reward.traces.sections, or --sections",
                     "use at most " + std::to_string(language.most_sections()));
  }
  const int64_t shortest = shortest_length(language, options);
  if (options.length < shortest || options.length > kLongestTrace) {
    throw UsageError("a length of " + std::to_string(options.length) + " words does not fit",
                     "reward.traces.lengths, or --length",
                     "use " + std::to_string(shortest) + " to " + std::to_string(kLongestTrace) +
                         " for so many entities and sections");
  }
  const TracePattern pattern = trace_pattern(kind);
  // A stream for the story and one for each trace: the chosen one does not depend on the fault.
  const auto stream = [&](uint32_t part) {
    return RandomStream(seed, RandomPurpose::synthetic_data, uint32_t(index),
                        uint32_t(index >> 32) << 8 | 0x80u | part,
                        0x80000000u | uint32_t(options.length));
  };
  RandomStream of_story = stream(0), of_chosen = stream(1),
               of_rejected = stream(2 + uint32_t(kind));
  const Story story = make_story(of_story, options, language.names());
  TracePair pair;
  pair.chosen = trace_text(language, memories(story, pattern), pattern, story.asked, of_chosen);
  pair.rejected =
      trace_text(language, faulty_memories(story, pattern, trace_fault(kind), of_rejected), pattern,
                 story.asked, of_rejected);
  pair.prompt = prompt_text(language, story, options.length - word_count(pair.chosen), of_story);
  return pair;
}

}  // namespace elastron::reward
