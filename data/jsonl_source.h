// Records of JSONL files, tokenised and packed when opened.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "data/source.h"

namespace elastron::data {

// Holds the token ids of all documents (4 bytes each) and nothing else of the text. `key` is the
// configuration key that names the files. Throws InputError for a bad record, an unknown task or an
// overlong document (as `config` says), and when no document is left.
std::unique_ptr<PackSource> open_jsonl_source(const std::vector<std::string>& files,
                                              const std::string& key, const DataConfig& config,
                                              Packing packing, const Tokenizer& tokenizer,
                                              const ChatTemplate& chat, int32_t eos);

}  // namespace elastron::data
