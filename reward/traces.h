// Pairs of memory-management traces over a made-up story: what a reward model should learn to tell
// apart. A story states who is where, in sections of running text; a trace gives the memory after
// each section and answers a question. The chosen trace is faithful; the rejected one is faulty in
// one place, of the same length but for noise that says nothing (memory-reward spec, 1 and 3).
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "data/tokenizer.h"

namespace elastron::reward {

enum class TracePattern : uint8_t {
  sequential,  // one memory, updated section by section
  mixed,       // a memory per section, made side by side, then merged into one
};
enum class TraceFault : uint8_t {
  noise,          // an entry with a value that no section states
  drop,           // a fact is lost from where it should have been noted on
  delayed,        // an update is not noted where it is stated
  contradictory,  // a value that was noted right turns into another one later
};
inline constexpr int kTraceKinds = 8;  // pattern x fault, named "sequential-noise" and so on

std::string trace_kind_name(int kind);

enum class Lexicon : uint8_t {
  automatic,  // coded where the tokenizer has its words, else english
  english,    // names, places and everyday sentences
  coded,      // the words of the synthetic tasks (data/synthetic/tasks.h), a token each
};

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

struct TraceOptions {
  Lexicon lexicon = Lexicon::english;  // not automatic
  int64_t length = 512;                // words of the prompt and a trace together, about
  int64_t entities = 4, sections = 3;
};

struct TracePair {
  std::string prompt, chosen, rejected;
};

// A pure function of its arguments: pair `index` of its kind. Story and question are the same for
// all kinds of fault. Throws UsageError where the length cannot hold the facts.
TracePair trace_pair(uint64_t seed, int kind, uint64_t index, const TraceOptions& options);

}  // namespace elastron::reward
