// Conversations as text, in the form a model family was trained on.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "data/text_range.h"

namespace elastron::data {

enum class ChatTemplateSetting : uint8_t { automatic, qwen3, llama3, none };  // data.chat_template

struct ChatMessage {
  std::string role, content;  // role: system | user | assistant
  bool operator==(const ChatMessage&) const = default;
};

// A conversation as text; `contents` are the parts of it that come from the messages' contents, the
// rest is the template's.
struct RenderedChat {
  std::string text;
  std::vector<TextRange> contents;
};

class ChatTemplate {
 public:
  // `setting` automatic: recognises the template of the model folder (chat_template.jinja, or
  // chat_template in tokenizer_config.json) by its text (data/known_templates.h); a folder without
  // one has none; one that is not known, or is not rendered here, is an InputError that names
  // data.chat_template. Any other setting is taken; a warning says so where the folder has a
  // template that it does not render.
  static ChatTemplate open(const std::string& folder, ChatTemplateSetting setting);
  ChatTemplateSetting kind() const;  // qwen3, llama3 or none
  // The conversation as text. kind() must not be none. generation_prompt: ends with the opening of
  // the assistant's turn (Qwen3: thinking off, i.e. enable_thinking=False).
  RenderedChat render(std::span<const ChatMessage> messages, bool generation_prompt) const;

 private:
  explicit ChatTemplate(ChatTemplateSetting kind) : kind_(kind) {}
  ChatTemplateSetting kind_;
};

}  // namespace elastron::data
