// BPE of characters, with tokens of bytes for characters that have none: what SentencePiece models
// become (Mistral-7B, Llama-2). Blanks are U+2581, and text is not split into words.
#pragma once
#include <memory>
#include <vector>

#include "data/tokenizer.h"
#include "data/tokenizer/added_tokens.h"
#include "data/tokenizer/merges.h"
#include "data/tokenizer/vocabulary.h"

namespace elastron::data {

// Where a blank is put in front of text: of each part between added tokens, or of the text's first
// part; there also where the part begins with one, or not then.
enum class BlankInFront : uint8_t { never, of_all, of_all_without, of_first_without };

struct CharacterBpe {
  Vocabulary vocabulary;
  int32_t model_tokens = 0;  // those below are the model's, the others were added
  AddedTokens added;         // without a normalizer
  std::vector<Merge> merges;
  BlankInFront blank_in_front = BlankInFront::never;
  bool strips_blank = false;  // decoded text loses one blank in front
};

// Throws InputError naming `where` when a byte that UTF-8 can have has no token "<0xXX>".
std::unique_ptr<Tokenizer> make_character_bpe(CharacterBpe parts, const std::string& where);

}  // namespace elastron::data
