// Synthetic long-context tasks of known sensitivity: what a router should learn to tell apart.
//
// Sensitive kinds need tokens far from the question: with a window that is short against the
// document they cannot be answered. Robust kinds can be answered from any local window. Words come
// from a small fixed vocabulary and are separated by single spaces, so that a WordLevel tokenizer
// with whitespace pre-split gives one token per word.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/record.h"

namespace elastron::data {

enum class SyntheticKind : uint8_t {
  needle,        // Single QA: one marked value in noise
  recall,        // Single QA: several key-value pairs, the question names the key
  trace,         // MultiHop QA: follow a variable over two assignments among others
  gist,          // Summarization: the topic most words belong to
  continuation,  // Code: continue a sequence by its local rule
  pattern,       // In-Context Learning: continue a pattern shown throughout the context
  repeat,        // pretraining only: random segments, again at random distances
  // Two harder ones, which are in no mix that does not name them.
  hops,   // MultiHop QA: follow a variable over four assignments, naming each
  count,  // Single QA: how often a mark stands in the whole context, one to eight times
};

inline constexpr int kSyntheticKinds = 9;

std::string_view synthetic_kind_name(SyntheticKind kind);
SyntheticKind synthetic_kind_from_name(std::string_view name);  // UsageError lists the names
std::string_view synthetic_kind_task(SyntheticKind kind);       // the paper's task name
// Whether documents of the kind need tokens far from the question; so do the tasks that the
// objective takes for sensitive (router/objective.h).
bool synthetic_kind_is_sensitive(SyntheticKind kind);

// Shortest document, in words. The far facts keep their whole clearance once length is at least
// 2.5 * clearance; in shorter documents they come closer, down to a fifth of the length.
inline constexpr int64_t kShortestSynthetic = 64;

struct SyntheticOptions {
  int64_t length = 512;    // words of context, question and answer together
  int64_t clearance = 96;  // words between the last far fact and the question, where length allows
};

// A pure function of its arguments: example `index` of its kind.
Record synthetic_record(uint64_t seed, SyntheticKind kind, uint64_t index,
                        const SyntheticOptions& options);

// All words the generator uses, in token-id order after the special tokens.
const std::vector<std::string>& synthetic_vocabulary();
// Those that documents of a kind are made of: the harder kinds have words of their own, which
// tokenizers made before them lack.
std::span<const std::string> synthetic_vocabulary(SyntheticKind kind);

// A Hugging Face tokenizer.json (WordLevel, WhitespaceSplit) over that vocabulary. Ids 0 and 1 are
// "<unk>" and "<eos>".
std::string synthetic_tokenizer_json();

}  // namespace elastron::data
