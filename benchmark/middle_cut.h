// Prompts that are longer than a model may read: the middle goes.
#pragma once
#include <cstdint>
#include <string>

#include "data/tokenizer.h"

namespace elastron::benchmark {

struct MiddleCut {
  int64_t limit = 0;  // tokens, at least 2
  // Tokens that the benchmark's tokenizer puts before any text (Llama-3: 1), which it counts.
  int64_t leading_tokens = 0;
  // LongBench decodes the two halves apart and joins the texts; LongBench-v2 decodes the joined
  // tokens, and has one more token at the end where the limit is odd.
  enum class Join : uint8_t { texts, tokens } join = Join::texts;
};

struct CutPrompt {
  std::string text;
  bool truncated = false;
};

// A prompt of more tokens than the limit as its first and last limit / 2 tokens (rounded down),
// decoded without control tokens; another as it is. The text is to be tokenised again.
CutPrompt cut_middle(const data::Tokenizer& tokenizer, const std::string& prompt,
                     const MiddleCut& cut);

}  // namespace elastron::benchmark
