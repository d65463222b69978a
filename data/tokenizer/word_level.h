// The WordLevel model: one token per piece of the pre-tokenizer, one id for all unknown pieces.
#pragma once
#include <memory>

#include "data/tokenizer.h"
#include "data/tokenizer/added_tokens.h"
#include "data/tokenizer/vocabulary.h"

namespace elastron::data {

enum class WordSplit : uint8_t { whitespace, words };  // WhitespaceSplit, Whitespace

std::unique_ptr<Tokenizer> make_word_level(Vocabulary vocabulary, AddedTokens added,
                                           int32_t unknown, WordSplit split);

}  // namespace elastron::data
