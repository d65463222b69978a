// A preference row as token ids: the conversation in the model's chat template, prompt and
// responses tokenised apart so that all responses continue the same ids, end-of-sequence last, cut
// where it is too long. (docs/method.md, Pair text and Over-long pairs)
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "data/chat_template.h"
#include "data/config.h"
#include "data/control_tokens.h"
#include "data/tokenizer.h"
#include "reward/overlong.h"
#include "reward/rows.h"

namespace elastron::reward {

class PairReader {
 public:
  // `eos`: ids that end a sequence; the first is appended where none of them is last. `padding`:
  // what a classifier's folder pads with, which fit() then leaves out at the end. The tokenizer
  // must outlive the reader. Throws InputError where it does not fit the chat template, or that is
  // not recognised (data.chat_template). `controls`: what becomes of control tokens that the row's
  // texts spell out; not automatic.
  PairReader(const data::Tokenizer& tokenizer, std::vector<int32_t> eos,
             const std::string& model_folder, data::ChatTemplateSetting chat_template,
             data::ControlTokens controls, std::optional<int32_t> padding = {});

  // Throws InputError for a row that the chat template does not render.
  PairIds ids(const PreferenceRow& row) const;
  // Nothing for such a row under `skip`.
  std::optional<PairIds> ids(const PreferenceRow& row, BadRows bad_rows) const;
  // Such a row is dropped under `skip`.
  FittedPair fit(const PreferenceRow& row, int64_t limit, Overlong policy,
                 BadRows bad_rows = BadRows::error) const;
  // The control tokens in the row's texts. Throws InputError where there are some and `controls` is
  // `error`.
  std::vector<int32_t> controls_in(const PreferenceRow& row) const;
  data::ControlTokens controls() const { return controls_; }

 private:
  // `contents`: of the text, what is the row's.
  std::vector<int32_t> encode(std::string_view text,
                              const std::vector<data::TextRange>& contents) const;
  std::vector<int32_t> response(std::string_view text,
                                const std::vector<data::TextRange>& contents) const;
  PairIds ids_of_texts(const PreferenceRow& row) const;
  PairIds ids_of_turns(const PreferenceRow& row) const;

  const data::Tokenizer& tokenizer_;
  std::vector<int32_t> eos_;
  data::ChatTemplate chat_;
  data::ControlTokens controls_;
  std::optional<int32_t> padding_;
};

}  // namespace elastron::reward
