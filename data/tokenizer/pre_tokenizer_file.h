// The pre_tokenizer of a byte-level tokenizer.json.
#pragma once
#include <vector>

#include "data/tokenizer/file.h"
#include "data/tokenizer/split_step.h"

namespace elastron::data {

// "ByteLevel", or a "Sequence" of "Split", "Digits" and "Punctuation" that ends with it, as the
// steps that text is split by. Throws InputError for anything else.
std::vector<SplitStep> read_split_steps(const TokenizerFile& file);

}  // namespace elastron::data
