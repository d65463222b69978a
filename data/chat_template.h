// Conversations as text, in the form a model family was trained on.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "data/text_range.h"

namespace elastron::data {

// data.chat_template. The forms are those of docs/tokenizers.md; several templates may have one.
enum class ChatTemplateSetting : uint8_t {
  automatic,
  none,
  qwen3,
  qwen3_instruct,
  qwen3_thinking,
  qwen3_training,
  qwen3_training_0_26,
  qwen2_5,
  llama3,
  llama3_0,
  mistral_v3,
  mistral_nemo,
  deepseek_r1,
  deepseek_r1_2501,
  deepseek_r1_training
};

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
  ChatTemplateSetting kind() const;  // a form, or none
  // The conversation as text. kind() must not be none. generation_prompt: ends with the opening of
  // the assistant's turn (Qwen3: thinking off, i.e. enable_thinking=False). Throws InputError naming
  // `where` for what the template does not take.
  RenderedChat render(std::span<const ChatMessage> messages, bool generation_prompt,
                      const std::string& where = "chat") const;

 private:
  explicit ChatTemplate(ChatTemplateSetting kind) : kind_(kind) {}
  ChatTemplateSetting kind_;
};

}  // namespace elastron::data
