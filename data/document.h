// A record as token ids, with its labels and the ranges the router pools (docs/method.md,
// Documents).
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "data/chat_template.h"
#include "data/control_tokens.h"
#include "data/packed_batch.h"
#include "data/record.h"
#include "data/tokenizer.h"

namespace elastron::data {

enum class LabelMode : uint8_t {
  all,     // every token but the first is predicted
  answer,  // only the answer (and the end-of-sequence token) is
};

// Instructions that two of the tasks get around their text (docs/method.md, Documents). Empty:
// none.
struct Prompts {
  std::string summarization_before;  // a sentence in front
  std::string summarization_after;   // a cue at the end, after a blank line
  std::string code_before;           // a sentence in front
};

struct Document {
  std::vector<int32_t> ids;
  int64_t user_length = 0;  // tokens before the answer, or of the user's turn
  int64_t answer_offset =
      0;  // tokens between those and the answer: what opens the assistant's turn
  int64_t answer_length = 0;  // tokens of the answer, without the turn's end and end-of-sequence
  int32_t task_id = 0;
  int32_t kind_id = 0;    // into the source's kind names
  int64_t sample_id = 0;  // which record it was
  LabelMode labels = LabelMode::all;

  int64_t length() const { return int64_t(ids.size()); }
  // [0, 0, 0, user_len - 1, 0, user_len - 1, user_len, len - 1], inclusive.
  RangeIds range_ids() const;
  // Whether token `i` carries a label. The first never does: nothing is predicted across documents.
  bool predicted(int64_t i) const {
    return i > 0 && (labels == LabelMode::all || i >= user_length);
  }
};

// Index into kTaskNames, or -1.
int task_id(const std::string& name);

// The user's text: question and context in the record's order, each after a newline, with the
// task's instructions around them.
std::string user_text(const Record& record, const Prompts& prompts = {});

// Without `chat` (or with one of kind none) user text and answer are tokenised apart, so that the
// border between them is exact. With it they are a conversation of two turns, or one where the
// answer is empty, and the user's part is the user's turn. Appends `eos` unless it is last already.
// task_id() must know the task, and `chat` must have passed check_chat_template. `controls`:
// whether control tokens in the record's text become real ones (keep) or stay text.
Document make_document(const Record& record, const Tokenizer& tokenizer, int32_t eos,
                       LabelMode labels, const Prompts& prompts = {},
                       const ChatTemplate* chat = nullptr,
                       ControlTokens controls = ControlTokens::keep);

// Throws InputError naming `folder` unless the tokenizer has the template's special tokens: text is
// cut at those, so that the tokens of one turn do not depend on the next.
void check_chat_template(const ChatTemplate& chat, const Tokenizer& tokenizer,
                         const std::string& folder);

}  // namespace elastron::data
