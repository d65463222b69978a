// Asks a generative judge about a preference row by the conversation that the published
// evaluator builds (docs/method.md, Generative judges), in the model's chat template. For files
// with `form` in their name the system prompt is the published one, and so the prompt is the
// published one to the byte. For other files it is our own wording of the published criteria:
// numbers with it are not comparable to the letter with published ones. Either can be replaced.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "data/chat_template.h"
#include "data/control_tokens.h"
#include "data/tokenizer.h"
#include "reward/rows.h"

namespace elastron::reward {

// A row is named by its file, of which the name without folders counts, and by its number there.
// The file as a coordinate of random numbers:
uint32_t judge_coordinate(std::string_view file);

enum class JudgeOrder : uint8_t {
  drawn,  // one order per row
  both,   // each row twice, the drawn order first: for position-swap consistency
};

// The drawn order: whether the chosen response is shown as A. A function of its arguments alone.
bool draws_chosen_first(uint64_t seed, std::string_view file, int64_t row);

std::string_view judge_system_prompt(std::string_view file);
std::string judge_user_text(std::string_view question, std::string_view a, std::string_view b);

struct JudgePromptOptions {
  std::string system_prompt;  // empty: the file's
  int64_t limit = 131072;     // tokens; at least 11
  data::ChatTemplateSetting chat_template = data::ChatTemplateSetting::automatic;
  // Control tokens that question, responses or system prompt spell out; automatic: text, so that
  // a response cannot end the user's turn and write the verdict.
  data::ControlTokens control_tokens = data::ControlTokens::automatic;
};

struct JudgePrompt {
  std::vector<int32_t> ids;  // fewer than the limit; none where the row is to be skipped
  int64_t whole_tokens = 0;  // before a cut
  bool truncated = false;    // the middle is missing
  bool skipped = false;      // too long even so
};

class JudgePrompts {
 public:
  // The tokenizer must outlive this. Throws InputError where it does not fit the chat template, or
  // that is not recognised; UsageError where the model has none, or the limit is too small.
  JudgePrompts(const data::Tokenizer& tokenizer, const std::string& model_folder,
               JudgePromptOptions options);

  // The rendered conversation, with the opening of the judge's turn (thinking off). Throws
  // InputError naming the row unless it has one question and two responses.
  std::string text(const PreferenceRow& row, std::string_view file, bool chosen_is_a) const;

  // The same as token ids. One of `limit` tokens or more loses its middle (without_middle), is
  // decoded and tokenised again, as published; one that is still too long is skipped.
  JudgePrompt prompt(const PreferenceRow& row, std::string_view file, bool chosen_is_a) const;

  // The control tokens that question and responses spell out. Throws InputError where there are
  // some and they are to be an error.
  std::vector<int32_t> controls_in(const PreferenceRow& row) const;
  data::ControlTokens controls() const { return options_.control_tokens; }  // not automatic

 private:
  data::RenderedChat rendered(const PreferenceRow& row, std::string_view file,
                              bool chosen_is_a) const;
  std::vector<int32_t> encode(std::string_view text,
                              const std::vector<data::TextRange>& contents) const;

  const data::Tokenizer& tokenizer_;
  JudgePromptOptions options_;
  data::ChatTemplate chat_;
};

}  // namespace elastron::reward
