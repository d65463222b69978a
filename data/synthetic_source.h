// Documents of the synthetic tasks, made when asked for.
#pragma once
#include <memory>

#include "data/source.h"

namespace elastron::data {

// Training: unlimited. A pack depends on (data.synthetic.*, data.max_tokens, its index) only: kinds
// and lengths are drawn until the next document does not fit (data.packing: none takes one).
// Evaluation: one document per pack, all kinds and lengths in turn, from the seed after training's.
// Both throw UsageError for lengths that do not fit and InputError for a tokenizer that lacks a
// word.
std::unique_ptr<PackSource> open_synthetic_training(const DataConfig& config,
                                                    const Tokenizer& tokenizer, int32_t eos);
std::unique_ptr<PackSource> open_synthetic_evaluation(const DataConfig& config,
                                                      const Tokenizer& tokenizer, int32_t eos);

}  // namespace elastron::data
