// Where pairs come from: preference files, tokenised when opened, or traces made on the fly.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/config.h"
#include "data/source.h"
#include "reward/config.h"
#include "reward/pair_reader.h"

namespace elastron::reward {

// A source needs to know this of the model.
struct PairModel {
  const data::Tokenizer& tokenizer;  // must outlive the source
  std::vector<int32_t> eos;
  std::string folder;
  std::optional<int32_t> padding;  // a classifier's
};

enum class PairUse : uint8_t { training, evaluation };

// A pack is a pair. Sequences are at most data.max_tokens long. Holds the token ids of all pairs of
// `files` (data.train or data.eval), or makes them as reward.traces says (data.format: synthetic).
// Throws InputError for bad rows, as reward.bad_rows and reward.overlong say, and where no pair is
// left; UsageError for a configuration that yields nothing.
std::unique_ptr<data::BatchSource> open_pair_source(const data::DataConfig& data,
                                                    const RewardConfig& reward, PairUse use,
                                                    const PairModel& model);

}  // namespace elastron::reward
