// Byte-level BPE as Qwen and Llama-3 use it: [normalized,] split by regular expressions, merges of
// the bytes of each piece.
#pragma once
#include <memory>
#include <vector>

#include "data/tokenizer.h"
#include "data/tokenizer/added_tokens.h"
#include "data/tokenizer/merges.h"
#include "data/tokenizer/split_step.h"
#include "data/tokenizer/vocabulary.h"

namespace elastron::data {

struct ByteLevelBpe {
  Vocabulary vocabulary;     // all tokens, as tokenizer.json writes them
  int32_t model_tokens = 0;  // those below are the model's, the others were added
  AddedTokens added;
  std::vector<SplitStep> splits;
  std::vector<Merge> merges;   // by rank
  bool ignore_merges = false;  // a piece that is a token of the model is that token
};

// Throws InputError naming `where` when a byte that UTF-8 can have has no token.
std::unique_ptr<Tokenizer> make_byte_level_bpe(ByteLevelBpe parts, const std::string& where);

}  // namespace elastron::data
