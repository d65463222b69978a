// Records of JSONL files, tokenised and packed when opened.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "data/document_reader.h"
#include "data/source.h"

namespace elastron::data {

// Holds the token ids of all documents (4 bytes each) and nothing else of the text. `key` is the
// configuration key that names the files, `model_folder` the place of the chat template. Throws
// InputError for a bad record, an unknown task or an overlong document (as `config` says), and when
// no document is left.
std::unique_ptr<PackSource> open_jsonl_source(const std::vector<std::string>& files,
                                              const std::string& key, const DataConfig& config,
                                              Packing packing, const Tokenizer& tokenizer,
                                              int32_t eos, const std::string& model_folder);

// For when nothing is left of the files. Always throws InputError.
[[noreturn]] void no_document_left(const RecordCounts& counts,
                                   const std::vector<std::string>& files, const std::string& key);

}  // namespace elastron::data
