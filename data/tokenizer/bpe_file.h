// The model of a tokenizer.json that is a BPE: what byte-level and character-level ones share.
#pragma once
#include <vector>

#include "data/tokenizer/file.h"
#include "data/tokenizer/merges.h"

namespace elastron::data {

// Throws InputError for options of the model that change ids and are not supported: dropout, affixes
// of words.
void check_bpe_options(const TokenizerFile& file);

// 'model.merges', by rank. Throws InputError for one whose tokens or result are not the model's.
std::vector<Merge> read_merges(const TokenizerFile& file, const TokenizerFile::Tokens& tokens);

}  // namespace elastron::data
