// Pairs of memory-management traces over a made-up story: what a reward model should learn to tell
// apart (docs/method.md, Benchmark rows and Traces).
//
// A prompt is running text in sections, in which people are said to move to places, then whose
// whereabouts are to be kept track of, and a question. A trace gives the memory after each section
// (sequential), or one of each section and then the merged one (mixed), and the answer. The chosen
// trace is faithful. The rejected one has one fault:
//   noise          a fact is noted with a value that the story states for nobody
//   drop           somebody to be kept track of is not noted, and a bystander is in their place
//   delayed        an update is noted in the memory after a later section; merging misses it
//   contradictory  an update is noted for somebody else: what was right of them is overwritten
//
// Chosen and rejected have the same number of steps, entries and words of entries. Remarks that say
// nothing make each of them longer by a length drawn alike. But for delayed kinds, chosen and
// rejected traces are draws of one distribution: the rejected one is faithful to another story, as
// likely as the first, so that no judge does better than chance without the prompt. A delayed
// update shows in the trace itself: a value changes later than in the chosen one, or the merged
// memory disagrees with a branch.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "data/tokenizer.h"
#include "reward/trace_language.h"

namespace elastron::reward {

enum class TracePattern : uint8_t { sequential, mixed };
enum class TraceFault : uint8_t { noise, drop, delayed, contradictory };
inline constexpr int kTraceKinds = 8;  // pattern x fault, named "sequential-noise" and so on

TracePattern trace_pattern(int kind);
TraceFault trace_fault(int kind);
std::string trace_kind_name(int kind);

struct TraceConfig {
  std::map<std::string, double> kinds;  // weight by name; empty: all eight, evenly
  std::vector<int64_t> lengths = {512};
  int64_t entities = 4;
  int64_t sections = 3;
  Lexicon lexicon = Lexicon::automatic;
  int64_t seed = 1;
  int64_t eval_pairs = 512;
};

// Weighted kinds as `kinds` says. Throws UsageError for an unknown one or a weight that is not
// positive.
std::vector<std::pair<int, double>> trace_mix(const std::map<std::string, double>& kinds);

Lexicon lexicon_for(Lexicon wanted, const data::Tokenizer& tokenizer);

inline constexpr int64_t kFewestEntities = 2, kMostEntities = 29;
inline constexpr int64_t kFewestSections = 3, kMostSections = 64;
inline constexpr int64_t kLongestTrace = 1 << 20;  // words

struct TraceOptions {
  Lexicon lexicon = Lexicon::english;  // not automatic
  // Words of the prompt and the chosen trace together: exactly in coded text, within 8 in English.
  int64_t length = 512;
  int64_t entities = 4, sections = 3;
};

struct TracePair {
  std::string prompt, chosen, rejected;
};

// A pure function of its arguments: pair `index` of its kind. Story and question are the same for
// all kinds, and a pattern's chosen trace for all its faults. Takes time in proportion to the
// length. Throws UsageError where the length cannot hold the facts or is over kLongestTrace, or the
// lexicon has no words for that many entities or sections.
TracePair trace_pair(uint64_t seed, int kind, uint64_t index, const TraceOptions& options);

}  // namespace elastron::reward
