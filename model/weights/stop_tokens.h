// Which tokens end a text, where config.json is not all that says so.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "model/weights/config_reader.h"

namespace elastron::model {

// 'eos_token_id': one id or a list of them; none where it is missing or null. Throws InputError for
// one that is not in the vocabulary.
std::vector<int32_t> read_end_tokens(const ConfigReader& config, int64_t vocab_size);

// generation_config.json's; none where there is no such file.
std::vector<int32_t> generation_end_tokens(const std::string& folder, int64_t vocab_size);

// The id of tokenizer_config.json's 'eos_token'; none where that is not to be found.
std::vector<int32_t> tokenizer_end_tokens(const std::string& folder, int64_t vocab_size);

}  // namespace elastron::model
