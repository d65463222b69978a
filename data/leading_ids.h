// What a tokenizer puts before a text.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace elastron::data {

// The ids that the folder's tokenizer puts before any text (Llama-3: one, Qwen: none), as the
// post_processor of its tokenizer.json says, which Tokenizer::encode leaves out. Throws InputError
// for a post_processor that does something else to a text.
std::vector<int32_t> leading_ids(const std::string& folder);

// Puts them before a text's ids, unless these begin so: a chat template may have written the same.
void lead(std::vector<int32_t>& ids, const std::vector<int32_t>& leading);

}  // namespace elastron::data
