// Packs without content: an objective describes its packs to a plan with these functions.
#pragma once
#include <cstdint>

#include "data/config.h"
#include "data/packed_batch.h"

namespace elastron::train {

// Appends a sequence of `tokens` tokens: one label per token but the last, or one in sixteen where
// only answers have labels.
void add_planned_sequence(int64_t tokens, data::LabelMode labels, data::PackedBatch& batch);

// Appends the ranges and ids of a document of `tokens` tokens; its sequences are added apart.
void add_planned_document(int64_t tokens, data::PackedBatch& batch);

}  // namespace elastron::train
