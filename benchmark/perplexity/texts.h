// Documents whose perplexity is asked for, and how well a model foresees their ends.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "data/tokenizer.h"

namespace elastron::benchmark {

struct TokenisedText {
  std::string name;          // of its file, or "file:line"
  std::vector<int32_t> ids;  // the first ones, with what the tokenizer puts before a text
};

// `path`: a file of text (.txt), one of JSON lines with a field "text", or a folder of such, which are
// taken by name. Texts are cut to `most` tokens. Throws InputError naming file and line for what is
// not UTF-8 or has no text, and where there is none.
std::vector<TokenisedText> read_texts(const std::string& path, const data::Tokenizer& tokenizer,
                                      const std::vector<int32_t>& leading, int64_t most);

}  // namespace elastron::benchmark
