#include "data/chat_template.h"

#include <filesystem>
#include <optional>
#include <string_view>

#include "core/config/problems.h"
#include "core/error.h"
#include "core/file/input_file.h"
#include "core/json.h"
#include "data/tokenizer/split.h"

namespace elastron::data {

namespace {

constexpr uint64_t kMostTemplateBytes = uint64_t(1) << 20;
constexpr uint64_t kMostConfigBytes = uint64_t(16) << 20;
constexpr const char* kSetTheKey = "set data.chat_template to qwen3, llama3 or none";

// chat_template of tokenizer_config.json: a string, or a list of {name, template} of which the one
// named "default" counts.
std::optional<std::string> template_of_config(const std::string& path) {
  const auto config = parse_json_strict(read_small_file(path, kMostConfigBytes), path);
  if (!config.is_object()) {
    throw InputError("the file is not a JSON object", path, "give a Hugging Face model folder");
  }
  const auto found = config.find("chat_template");
  if (found == config.end() || found->is_null()) return {};
  if (found->is_string()) return found->get<std::string>();
  if (found->is_array()) {
    for (const auto& entry : *found) {
      if (entry.is_object() && entry.contains("name") && entry["name"] == "default" &&
          entry.contains("template") && entry["template"].is_string()) {
        return entry["template"].get<std::string>();
      }
    }
  }
  throw InputError("'chat_template' is neither a text nor a list with a default", path, kSetTheKey);
}

bool has_all(std::string_view text, std::initializer_list<std::string_view> features) {
  for (const std::string_view feature : features) {
    if (text.find(feature) == text.npos) return false;
  }
  return true;
}

// By what makes the rendering what it is. Relatives that render otherwise lack a feature or have
// one of the excluded ones: Qwen3-2507 has no switch for thinking, vision and later models know
// <|vision_start|>, Llama-3.2 asks the clock for its date, Llama-3 has no date.
std::optional<ChatTemplateSetting> recognise(std::string_view text) {
  if (has_all(text, {"<|im_start|>", "<|im_end|>", "<think>", "</think>",
                     "enable_thinking is false", "last_query_index"}) &&
      text.find("<|vision_start|>") == text.npos) {
    return ChatTemplateSetting::qwen3;
  }
  if (has_all(text, {"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>",
                     "Cutting Knowledge Date: December 2023", "26 Jul 2024"}) &&
      text.find("strftime_now") == text.npos) {
    return ChatTemplateSetting::llama3;
  }
  return {};
}

bool exists(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

// What Python's str.strip removes: White_Space and the information separators.
std::string_view strip(std::string_view text) {
  const auto is_space = [](std::string_view c) {
    return is_white_space(c) || (c.size() == 1 && c[0] >= 0x1c && c[0] <= 0x1f);
  };
  const auto length_at = [&](size_t at) {
    const auto lead = uint8_t(text[at]);
    return std::min<size_t>(lead < 0x80   ? 1
                            : lead < 0xe0 ? 2
                            : lead < 0xf0 ? 3
                                          : 4,
                            text.size() - at);
  };
  size_t begin = 0;
  while (begin < text.size() && is_space(text.substr(begin, length_at(begin)))) {
    begin += length_at(begin);
  }
  text.remove_prefix(begin);
  while (!text.empty()) {
    size_t last = text.size() - 1;
    while (last > 0 && (uint8_t(text[last]) & 0xc0) == 0x80) --last;
    if (!is_space(text.substr(last))) break;
    text = text.substr(0, last);
  }
  return text;
}

std::string_view strip_newlines_left(std::string_view text) {
  const size_t begin = text.find_first_not_of('\n');
  return begin == text.npos ? std::string_view{} : text.substr(begin);
}

std::string_view strip_newlines_right(std::string_view text) {
  return text.substr(0, text.find_last_not_of('\n') + 1);  // npos + 1 is 0
}

bool is_tool_response(std::string_view text) {
  return text.starts_with("<tool_response>") && text.ends_with("</tool_response>");
}

std::string render_qwen3(std::span<const ChatMessage> messages, bool generation_prompt) {
  constexpr std::string_view kThinkEnd = "</think>";
  constexpr std::string_view kThink = "<think>";
  // Answers after the last question keep their thoughts.
  size_t last_query = messages.size() - 1;
  for (size_t i = messages.size(); i-- > 0;) {
    if (messages[i].role == "user" && !is_tool_response(messages[i].content)) {
      last_query = i;
      break;
    }
  }
  std::string text;
  for (size_t i = 0; i < messages.size(); ++i) {
    const auto& [role, whole] = messages[i];
    std::string_view content = whole;
    text.append("<|im_start|>").append(role).append("\n");
    if (role == "assistant") {
      std::string_view thoughts;
      if (const size_t end = content.find(kThinkEnd); end != content.npos) {
        thoughts = strip_newlines_right(content.substr(0, end));
        if (const size_t open = thoughts.rfind(kThink); open != thoughts.npos) {
          thoughts.remove_prefix(open + kThink.size());
        }
        thoughts = strip_newlines_left(thoughts);
        content = strip_newlines_left(content.substr(content.rfind(kThinkEnd) + kThinkEnd.size()));
      }
      if (i > last_query && (i + 1 == messages.size() || !thoughts.empty())) {
        text.append("<think>\n").append(strip_newlines_right(thoughts)).append("\n</think>\n\n");
        content = strip_newlines_left(content);
      }
    }
    text.append(content).append("<|im_end|>\n");
  }
  if (generation_prompt) text += "<|im_start|>assistant\n<think>\n\n</think>\n\n";
  return text;
}

std::string render_llama3(std::span<const ChatMessage> messages, bool generation_prompt) {
  std::string text =
      "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n"
      "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n";
  if (messages.front().role == "system") {
    text += strip(messages.front().content);
    messages = messages.subspan(1);
  }
  text += "<|eot_id|>";
  for (const auto& [role, content] : messages) {
    text.append("<|start_header_id|>").append(role).append("<|end_header_id|>\n\n");
    text.append(strip(content)).append("<|eot_id|>");
  }
  if (generation_prompt) text += "<|start_header_id|>assistant<|end_header_id|>\n\n";
  return text;
}

}  // namespace

ChatTemplate ChatTemplate::open(const std::string& folder, ChatTemplateSetting setting) {
  if (setting != ChatTemplateSetting::automatic) return ChatTemplate(setting);
  std::string path = folder + "/chat_template.jinja";
  std::optional<std::string> text;
  if (exists(path)) {
    text = read_small_file(path, kMostTemplateBytes);
  } else if (path = folder + "/tokenizer_config.json"; exists(path)) {
    text = template_of_config(path);
  }
  if (!text) return ChatTemplate(ChatTemplateSetting::none);
  const auto kind = recognise(*text);
  if (!kind) {
    throw InputError("the chat template is neither Qwen3's nor Llama-3.1's", path, kSetTheKey);
  }
  return ChatTemplate(*kind);
}

ChatTemplateSetting ChatTemplate::kind() const { return kind_; }

std::string ChatTemplate::render(std::span<const ChatMessage> messages,
                                 bool generation_prompt) const {
  ELASTRON_CHECK(kind_ == ChatTemplateSetting::qwen3 || kind_ == ChatTemplateSetting::llama3,
                 "a conversation needs a chat template");
  if (messages.empty()) {
    throw InputError("a conversation without messages", "chat", "give at least one message");
  }
  for (const ChatMessage& message : messages) {
    if (message.role != "system" && message.role != "user" && message.role != "assistant") {
      throw InputError("role " + config::in_quotes(message.role), "chat",
                       "roles are system, user and assistant");
    }
  }
  return kind_ == ChatTemplateSetting::qwen3 ? render_qwen3(messages, generation_prompt)
                                             : render_llama3(messages, generation_prompt);
}

}  // namespace elastron::data
