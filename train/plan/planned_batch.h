// A micro batch of the shape that a configuration says, without content: what a step is planned
// with.
#pragma once
#include <cstdint>

#include "data/packed_batch.h"
#include "train/config.h"

namespace elastron::train {

// Tokens of a micro batch as long as it may be.
int64_t micro_batch_tokens(const Config& config);

// train.micro_batch full packs as the objective makes them, in documents of `document_tokens` (0:
// one document a pack).
data::PackedBatch planned_batch(const Config& config, int64_t document_tokens);

}  // namespace elastron::train
