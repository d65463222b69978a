// A preference row as token ids: the conversation in the model's chat template, prompt and
// responses tokenised apart so that all responses continue the same ids, end-of-sequence last, cut
// where it is too long. (memory-reward spec, 3.6 and 5.7)
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "data/chat_template.h"
#include "data/config.h"
#include "data/tokenizer.h"
#include "reward/overlong.h"
#include "reward/rows.h"

namespace elastron::reward {

class PairReader {
 public:
  // `eos`: ids that end a sequence; the first is appended where none of them is last. `padding`:
  // what a classifier's folder pads with, which fit() then leaves out at the end. The tokenizer
  // must outlive the reader. Throws InputError where it does not fit the chat template, or that is
  // not recognised (data.chat_template).
  PairReader(const data::Tokenizer& tokenizer, std::vector<int32_t> eos,
             const std::string& model_folder, data::ChatTemplateSetting chat_template,
             std::optional<int32_t> padding = {});

  PairIds ids(const PreferenceRow& row) const;
  FittedPair fit(const PreferenceRow& row, int64_t limit, Overlong policy) const;

 private:
  std::vector<int32_t> response(const std::string& text) const;

  const data::Tokenizer& tokenizer_;
  std::vector<int32_t> eos_;
  data::ChatTemplate chat_;
  std::optional<int32_t> padding_;
};

}  // namespace elastron::reward
