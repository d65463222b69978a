// BPE of characters from a tokenizer.json.
#pragma once
#include <memory>

#include "data/tokenizer.h"
#include "data/tokenizer/file.h"

namespace elastron::data {

// The file's model is a BPE with byte_fallback. Throws InputError for whatever else is wrong or not
// supported.
std::unique_ptr<Tokenizer> read_character_bpe(const TokenizerFile& file);

}  // namespace elastron::data
