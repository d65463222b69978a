// A micro batch of the shape that a configuration says, without content: what a step is planned
// with.
#pragma once
#include <cstdint>

#include "data/packed_batch.h"
#include "train/config.h"

namespace elastron::train {

// Tokens of a micro batch as long as it may be.
int64_t micro_batch_tokens(const Config& config);

// train.micro_batch packs of data.max_tokens, in documents of `document_tokens` (0: one document a
// pack); pairs of two such sequences for reward training. Labels are all tokens, or one in sixteen
// where only answers have them.
data::PackedBatch planned_batch(const Config& config, int64_t document_tokens);

}  // namespace elastron::train
