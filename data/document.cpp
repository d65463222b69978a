#include "data/document.h"

#include <algorithm>
#include <span>
#include <string_view>

#include "core/error.h"

namespace elastron::data {

namespace {

constexpr std::string_view kSpace = " \t\n\r\v\f";

std::string_view without_leading_space(std::string_view text) {
  const size_t begin = text.find_first_not_of(kSpace);
  return begin == text.npos ? std::string_view{} : text.substr(begin);
}

std::string_view without_trailing_space(std::string_view text) {
  return text.substr(0, text.find_last_not_of(kSpace) + 1);  // npos + 1 = 0: nothing is left
}

}  // namespace

RangeIds Document::range_ids() const {
  return {0, 0, 0, user_length - 1, 0, user_length - 1, user_length, length() - 1};
}

int task_id(const std::string& name) {
  const auto it = std::ranges::find(kTaskNames, name);
  return it == kTaskNames.end() ? -1 : int(it - kTaskNames.begin());
}

std::string user_text(const Record& record, const Prompts& prompts) {
  const std::string question = "\n" + std::string(without_leading_space(record.question));
  const std::string context = "\n" + std::string(without_trailing_space(record.context));
  std::string text = record.is_prefix ? question + "\n" + context : context + "\n" + question;
  if (record.task == "Summarization") {
    text = prompts.summarization_before + text;
    if (!prompts.summarization_after.empty()) text += "\n\n" + prompts.summarization_after;
  } else if (record.task == "Code") {
    text = prompts.code_before + text;
  }
  return text;
}

namespace {

// Tokens of the conversation, the user's turn first. -> its length.
int64_t encode_turns(const std::string& user, const std::string& answer, const Tokenizer& tokenizer,
                     const ChatTemplate& chat, std::vector<int32_t>& ids) {
  const std::vector<ChatMessage> turns = {{"user", user}, {"assistant", answer}};
  const std::span<const ChatMessage> all(turns);
  const auto alone = tokenizer.encode(chat.render(all.first(1), /*generation_prompt=*/false));
  ids = answer.empty() ? alone : tokenizer.encode(chat.render(all, /*generation_prompt=*/false));
  if (ids.size() < alone.size() || !std::equal(alone.begin(), alone.end(), ids.begin())) {
    throw InputError("the tokenizer does not end the user's turn where the chat template does",
                     "tokenizer.json",
                     "use the tokenizer of this template, or set data.chat_template: none");
  }
  return int64_t(alone.size());
}

}  // namespace

Document make_document(const Record& record, const Tokenizer& tokenizer, int32_t eos,
                       LabelMode labels, const Prompts& prompts, const ChatTemplate& chat) {
  Document document;
  const std::string user = user_text(record, prompts);
  if (chat.kind() != ChatTemplateSetting::none) {
    document.user_length = encode_turns(user, record.answer, tokenizer, chat, document.ids);
  } else {
    document.ids = tokenizer.encode(user);
    document.user_length = document.length();
    const auto answer = tokenizer.encode(record.answer);
    document.ids.insert(document.ids.end(), answer.begin(), answer.end());
  }
  document.answer_length = document.length() - document.user_length;
  if (document.ids.empty() || document.ids.back() != eos) document.ids.push_back(eos);
  document.task_id = task_id(record.task);
  ELASTRON_CHECK(document.task_id >= 0, "unknown task " + record.task);
  document.labels = labels;
  return document;
}

}  // namespace elastron::data
