#include "data/chat_form.h"

#include <algorithm>
#include <iterator>
#include <variant>

#include "core/error.h"
#include "data/space.h"

namespace elastron::data {

namespace {

constexpr std::string_view kThink = "<think>";
constexpr std::string_view kThinkEnd = "</think>";

std::string_view strip(std::string_view text) {
  return without_trailing_space(without_leading_space(text));
}

std::string_view strip_newlines_left(std::string_view text) {
  const size_t begin = text.find_first_not_of('\n');
  return begin == text.npos ? std::string_view{} : text.substr(begin);
}

std::string_view strip_newlines_right(std::string_view text) {
  return text.substr(0, text.find_last_not_of('\n') + 1);  // npos + 1 is 0
}

std::string_view after_last(std::string_view mark, std::string_view text) {
  const size_t at = text.rfind(mark);
  return at == text.npos ? text : text.substr(at + mark.size());
}

bool is_tool_response(std::string_view text) {
  return text.starts_with("<tool_response>") && text.ends_with("</tool_response>");
}

// Puts a conversation together, and remembers what of it are contents.
class Rendering {
 public:
  Rendering& form(std::string_view text) {
    chat_.text += text;
    return *this;
  }
  Rendering& content(std::string_view text) {
    const size_t begin = chat_.text.size();
    chat_.text += text;
    if (!text.empty()) chat_.contents.push_back({begin, chat_.text.size()});
    return *this;
  }
  RenderedChat take() { return std::move(chat_); }

 private:
  RenderedChat chat_;
};

using Messages = std::span<const ChatMessage>;

// <|im_start|>role\n ... <|im_end|>\n, Qwen's.
struct ChatMl {
  enum class Thoughts : uint8_t { as_written, in_last_answers, in_all_answers };
  std::string_view opening;  // of an answer, after the role
  Thoughts thoughts = Thoughts::as_written;
  bool both_tags = false;           // thoughts begin with <think>, or are none
  std::string_view default_system;  // stands where the conversation has no system message

  static constexpr std::string_view kTokens[] = {"<|im_start|>", "<|im_end|>"};
  RenderedChat render(Messages messages, bool generation_prompt, const std::string& where) const;

 private:
  // An answer in two parts, without the newlines around them.
  struct Answer {
    std::string_view thoughts, content;
  };
  Answer in_parts(std::string_view content) const;
  bool shows_thoughts(const Answer& answer, bool after_last_query, bool last) const;
};

ChatMl::Answer ChatMl::in_parts(std::string_view content) const {
  const size_t end = content.find(kThinkEnd);
  if (end == content.npos || (both_tags && content.find(kThink) == content.npos)) {
    return {.thoughts = {}, .content = content};
  }
  const auto before = after_last(kThink, strip_newlines_right(content.substr(0, end)));
  return {.thoughts = strip_newlines_left(before),
          .content = strip_newlines_left(after_last(kThinkEnd, content))};
}

bool ChatMl::shows_thoughts(const Answer& answer, bool after_last_query, bool last) const {
  return thoughts == Thoughts::in_all_answers ||
         (after_last_query && (last || !answer.thoughts.empty()));
}

RenderedChat ChatMl::render(Messages messages, bool generation_prompt,
                            const std::string& /*where*/) const {
  // Answers after the last question keep their thoughts.
  size_t last_query = messages.size() - 1;
  for (size_t i = messages.size(); i-- > 0;) {
    if (messages[i].role == "user" && !is_tool_response(messages[i].content)) {
      last_query = i;
      break;
    }
  }
  Rendering chat;
  if (!default_system.empty() && messages.front().role != "system") {
    chat.form("<|im_start|>system\n").form(default_system).form("<|im_end|>\n");
  }
  for (size_t i = 0; i < messages.size(); ++i) {
    const auto& [role, content] = messages[i];
    chat.form("<|im_start|>").form(role).form("\n");
    if (role != "assistant" || thoughts == Thoughts::as_written) {
      chat.content(content);
    } else {
      const Answer answer = in_parts(content);
      const bool shows = shows_thoughts(answer, i > last_query, i + 1 == messages.size());
      if (shows) {
        chat.form("<think>\n").content(strip_newlines_right(answer.thoughts));
        chat.form("\n</think>\n\n");
      }
      chat.content(shows ? strip_newlines_left(answer.content) : answer.content);
    }
    chat.form("<|im_end|>\n");
  }
  if (generation_prompt) chat.form("<|im_start|>assistant\n").form(opening);
  return chat.take();
}

// <|start_header_id|>role<|end_header_id|>\n\n ... <|eot_id|>, Llama's.
struct Headers {
  bool dated;  // begins with a system message of two dates, and the conversation's within

  static constexpr std::string_view kTokens[] = {"<|begin_of_text|>", "<|start_header_id|>",
                                                 "<|end_header_id|>", "<|eot_id|>"};
  RenderedChat render(Messages messages, bool generation_prompt,
                      const std::string& /*where*/) const {
    Rendering chat;
    chat.form("<|begin_of_text|>");
    if (dated) {
      // Llama-3.1 has this day unless the caller gives one; Llama-3.2 where there is no clock.
      chat.form(
          "<|start_header_id|>system<|end_header_id|>\n\n"
          "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n");
      if (messages.front().role == "system") {
        chat.content(strip(messages.front().content));
        messages = messages.subspan(1);
      }
      chat.form("<|eot_id|>");
    }
    for (const auto& [role, content] : messages) {
      chat.form("<|start_header_id|>").form(role).form("<|end_header_id|>\n\n");
      chat.content(strip(content)).form("<|eot_id|>");
    }
    if (generation_prompt) chat.form("<|start_header_id|>assistant<|end_header_id|>\n\n");
    return chat.take();
  }
};

// [INST] ... [/INST] answer</s>, Mistral's. The system message stands in the last turn if that is
// the user's, and nowhere otherwise.
struct Instructions {
  bool blanks;  // behind [INST], and in front of an answer, which is stripped

  static constexpr std::string_view kTokens[] = {"<s>", "[INST]", "[/INST]", "</s>"};
  RenderedChat render(Messages messages, bool /*generation_prompt*/,
                      const std::string& where) const {
    const ChatMessage* system = nullptr;
    if (messages.front().role == "system") {
      system = &messages.front();
      messages = messages.subspan(1);
    }
    Rendering chat;
    chat.form("<s>");
    for (size_t i = 0; i < messages.size(); ++i) {
      const auto& [role, content] = messages[i];
      if (role != (i % 2 == 0 ? "user" : "assistant")) {
        throw InputError("the roles of a conversation do not alternate", where,
                         "this chat template takes a system message or none, then user and "
                         "assistant in turn");
      }
      if (role == "user") {
        chat.form(blanks ? "[INST] " : "[INST]");
        if (system != nullptr && i + 1 == messages.size()) {
          chat.content(system->content).form("\n\n");
        }
        chat.content(content).form("[/INST]");
      } else {
        chat.form(blanks ? " " : "").content(blanks ? strip(content) : content).form("</s>");
      }
    }
    return chat.take();
  }
};

// <｜User｜> ... <｜Assistant｜> ... <｜end▁of▁sentence｜>, DeepSeek-R1's. The last system message
// stands in front.
struct Bars {
  std::string_view opening;     // of an answer, after <｜Assistant｜>
  bool keeps_thoughts = false;  // or an answer begins after the last </think>

  static constexpr std::string_view kTokens[] = {"<｜begin▁of▁sentence｜>", "<｜User｜>",
                                                 "<｜Assistant｜>", "<｜end▁of▁sentence｜>"};
  RenderedChat render(Messages messages, bool generation_prompt,
                      const std::string& /*where*/) const {
    const auto& [begin, user, assistant, end] = kTokens;
    Rendering chat;
    chat.form(begin);
    const auto system =
        std::find_if(messages.rbegin(), messages.rend(),
                     [](const ChatMessage& message) { return message.role == "system"; });
    if (system != messages.rend()) chat.content(system->content);
    for (const auto& [role, content] : messages) {
      if (role == "user") chat.form(user).content(content);
      if (role != "assistant") continue;
      chat.form(assistant);
      chat.content(keeps_thoughts ? content : after_last(kThinkEnd, content)).form(end);
    }
    if (generation_prompt) chat.form(assistant).form(opening);
    return chat.take();
  }
};

struct Form {
  ChatTemplateSetting setting;
  std::variant<ChatMl, Headers, Instructions, Bars> family;
};

constexpr std::string_view kNoThoughts = "<think>\n\n</think>\n\n";  // enable_thinking=False
constexpr std::string_view kQwen25System =
    "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.";

using enum ChatTemplateSetting;
using enum ChatMl::Thoughts;

constexpr Form kForms[] = {
    {qwen3, ChatMl{.opening = kNoThoughts, .thoughts = in_last_answers}},
    {qwen3_instruct, ChatMl{}},
    {qwen3_thinking, ChatMl{.opening = "<think>\n", .thoughts = in_last_answers}},
    {qwen3_training, ChatMl{.opening = kNoThoughts, .thoughts = in_all_answers}},
    {qwen3_training_0_26,
     ChatMl{.opening = kNoThoughts, .thoughts = in_all_answers, .both_tags = true}},
    {qwen2_5, ChatMl{.default_system = kQwen25System}},
    {llama3, Headers{.dated = true}},
    {llama3_0, Headers{.dated = false}},
    {mistral_v3, Instructions{.blanks = true}},
    {mistral_nemo, Instructions{.blanks = false}},
    {deepseek_r1, Bars{.opening = "<think>\n"}},
    {deepseek_r1_2501, Bars{.opening = ""}},
    {deepseek_r1_training, Bars{.opening = "<think>\n", .keeps_thoughts = true}},
};

const Form& form_of(ChatTemplateSetting setting) {
  const auto* found = std::ranges::find(kForms, setting, &Form::setting);
  ELASTRON_CHECK(found != std::end(kForms), "a conversation needs a chat template");
  return *found;
}

}  // namespace

std::span<const std::string_view> control_tokens(ChatTemplateSetting form) {
  return std::visit(
      [](const auto& family) -> std::span<const std::string_view> { return family.kTokens; },
      form_of(form).family);
}

RenderedChat render_chat(ChatTemplateSetting form, std::span<const ChatMessage> messages,
                         bool generation_prompt, const std::string& where) {
  return std::visit(
      [&](const auto& family) { return family.render(messages, generation_prompt, where); },
      form_of(form).family);
}

}  // namespace elastron::data
