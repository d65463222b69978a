#include "data/document.h"

#include <algorithm>
#include <string_view>

#include "core/error.h"
#include "data/chat_form.h"
#include "data/space.h"

namespace elastron::data {

namespace {

bool uses(const ChatTemplate* chat) {
  return chat != nullptr && chat->kind() != ChatTemplateSetting::none;
}

void append(std::vector<int32_t>& ids, const std::vector<int32_t>& more) {
  ids.insert(ids.end(), more.begin(), more.end());
}

// How many of `ids`, which stand behind `previous`, end within the first `bytes` of their text.
int64_t tokens_within(size_t bytes, const std::vector<int32_t>& ids, int32_t previous,
                      const Tokenizer& tokenizer) {
  // Not at the beginning: there a decoder may leave out a blank.
  std::vector<int32_t> first = {previous};
  bytes += tokenizer.decode(first).size();
  for (const int32_t id : ids) {
    first.push_back(id);
    if (tokenizer.decode(first).size() > bytes) return int64_t(first.size()) - 2;
  }
  return int64_t(ids.size());
}

// Ids and lengths of user text and answer as turns of a conversation.
void fill_turns(Document& document, const std::string& user, const std::string& answer,
                const Tokenizer& tokenizer, const ChatTemplate& chat, bool plain) {
  const auto encode = [&](std::string_view text, const std::vector<TextRange>& contents) {
    return plain ? tokenizer.encode(text, contents) : tokenizer.encode(text);
  };
  std::vector<ChatMessage> messages = {{"user", user}};
  const auto [user_turn, user_contents] = chat.render(messages, false);
  document.ids = encode(user_turn, user_contents);
  document.user_length = document.length();
  if (answer.empty()) return;
  messages.push_back({"assistant", answer});
  const auto [whole, contents] = chat.render(messages, false);
  ELASTRON_CHECK(whole.starts_with(user_turn), "a turn that depends on the next one");
  // The next turn starts with a special token, or the user's ends with one, and text is cut at
  // those: so these are the ids of the whole.
  const std::string turn = whole.substr(user_turn.size());
  const auto parts = ranges_within(contents, user_turn.size(), whole.size());
  const auto ids = encode(turn, parts);
  const int32_t previous = document.ids.back();
  append(document.ids, ids);
  // Which of them are the answer: what neither opens nor ends the turn.
  const size_t end = turn.rfind(control_tokens(chat.kind()).back());
  const auto closing = int64_t(tokenizer.encode(turn.substr(end)).size());
  const int64_t opening =
      tokens_within(parts.empty() ? end : parts.front().begin, ids, previous, tokenizer);
  document.answer_offset = std::min(opening, int64_t(ids.size()) - closing);
  document.answer_length = int64_t(ids.size()) - closing - document.answer_offset;
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

Document make_document(const Record& record, const Tokenizer& tokenizer, int32_t eos,
                       LabelMode labels, const Prompts& prompts, const ChatTemplate* chat,
                       ControlTokens controls) {
  const bool plain = controls == ControlTokens::text;
  Document document;
  const std::string user = user_text(record, prompts);
  if (uses(chat)) {
    fill_turns(document, user, record.answer, tokenizer, *chat, plain);
  } else {
    const auto encode = [&](const std::string& text) {
      const TextRange all = {0, text.size()};
      return tokenizer.encode(text, {&all, plain ? size_t(1) : size_t(0)});
    };
    document.ids = encode(user);
    document.user_length = document.length();
    const auto answer = encode(record.answer);
    document.answer_length = int64_t(answer.size());
    append(document.ids, answer);
  }
  if (document.ids.empty() || document.ids.back() != eos) document.ids.push_back(eos);
  document.task_id = task_id(record.task);
  ELASTRON_CHECK(document.task_id >= 0, "unknown task " + record.task);
  document.labels = labels;
  return document;
}

void check_chat_template(const ChatTemplate& chat, const Tokenizer& tokenizer,
                         const std::string& folder) {
  if (chat.kind() == ChatTemplateSetting::none) return;
  for (const std::string_view name : control_tokens(chat.kind())) {
    const std::string token(name);
    const auto id = tokenizer.id(token);
    if (!id || tokenizer.encode("a" + token + "a").size() < 3 ||
        tokenizer.encode(token) != std::vector<int32_t>{*id}) {
      throw InputError("the tokenizer lacks the chat template's token " + token, folder,
                       "use the tokenizer of the model, or set data.chat_template: none");
    }
  }
}

}  // namespace elastron::data
