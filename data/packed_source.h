// Packs of files that elastron pack wrote.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "data/source.h"

namespace elastron::data {

// The files' packs, one file after the other. Holds the files' indices (33 bytes per document, 24
// per pack); token ids are read when a pack is asked for. `key` is the configuration key that names
// the files. Throws Error of kind input for a damaged file and for one of another vocabulary or
// end-of-sequence token: its ids would mean other words. UsageError where data.label_mode is not
// the files', or a pack is longer than data.max_tokens.
std::unique_ptr<PackSource> open_packed_source(const std::vector<std::string>& files,
                                               const std::string& key, const DataConfig& config,
                                               const Tokenizer& tokenizer, int32_t eos);

}  // namespace elastron::data
