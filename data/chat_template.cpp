#include "data/chat_template.h"

#include <fmt/format.h>

#include <filesystem>
#include <mutex>
#include <optional>
#include <set>
#include <string_view>

#include "core/config/problems.h"
#include "core/error.h"
#include "core/file/exists.h"
#include "core/file/input_file.h"
#include "core/json.h"
#include "core/log.h"
#include "data/config.h"
#include "data/known_templates.h"
#include "data/space.h"

namespace elastron::data {

namespace {

constexpr uint64_t kMostTemplateBytes = uint64_t(1) << 20;
constexpr uint64_t kMostConfigBytes = uint64_t(16) << 20;
constexpr const char* kWhatIsPossible =
    "data.chat_template: none takes records as plain text; qwen3 or llama3 renders them as Qwen3's "
    "or Llama-3.1's template would, which is right only where the model was trained on that form";

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
  throw InputError("'chat_template' is neither a text nor a list with a default", path,
                   kWhatIsPossible);
}

struct FoundTemplate {
  std::string path, text;
};

std::optional<FoundTemplate> template_of(const std::string& folder) {
  std::string path = folder + "/chat_template.jinja";
  if (exists(path)) return FoundTemplate{path, read_small_file(path, kMostTemplateBytes)};
  path = folder + "/tokenizer_config.json";
  if (!exists(path)) return {};
  auto text = template_of_config(path);
  return text ? std::optional(FoundTemplate{path, std::move(*text)}) : std::nullopt;
}

// Names a template that is not rendered.
std::string said_of(const FoundTemplate& found, const KnownTemplate* known) {
  if (known != nullptr)
    return fmt::format("the chat template is {}: not rendered here", known->name);
  return fmt::format("the chat template (XXH3-128 {}) is not one of those that are rendered here",
                     template_hash(found.text));
}

// Where the setting renders something else than the folder's template. Once: training and
// evaluation data ask for the same one.
void warn_of_another(const std::string& folder, ChatTemplateSetting setting) {
  static std::mutex mutex;
  static std::set<std::pair<std::string, ChatTemplateSetting>> said;
  const std::lock_guard lock(mutex);
  if (!said.insert({folder, setting}).second) return;
  const auto name = config::enum_name(setting);
  try {
    const std::optional<FoundTemplate> found = template_of(folder);
    const KnownTemplate* known = found ? known_template(found->text) : nullptr;
    if (!found || (known != nullptr && known->rendered_by == setting)) return;
    log_warning(
        "data.chat_template: {} is used as asked, and the folder's own template is another one "
        "({}): conversations look different from those of the folder's model",
        name, known != nullptr ? std::string(known->name) : found->path);
  } catch (const InputError& error) {
    log_warning("data.chat_template: {} is used as asked; the folder's own is not readable: {}",
                name, error.what());
  }
}

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

RenderedChat render_qwen3(std::span<const ChatMessage> messages, bool generation_prompt) {
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
  Rendering chat;
  for (size_t i = 0; i < messages.size(); ++i) {
    const auto& [role, whole] = messages[i];
    std::string_view content = whole;
    chat.form("<|im_start|>").form(role).form("\n");
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
        chat.form("<think>\n").content(strip_newlines_right(thoughts)).form("\n</think>\n\n");
        content = strip_newlines_left(content);
      }
    }
    chat.content(content).form("<|im_end|>\n");
  }
  if (generation_prompt) chat.form("<|im_start|>assistant\n<think>\n\n</think>\n\n");
  return chat.take();
}

RenderedChat render_llama3(std::span<const ChatMessage> messages, bool generation_prompt) {
  Rendering chat;
  chat.form(
      "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n"
      "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n");
  if (messages.front().role == "system") {
    chat.content(strip(messages.front().content));
    messages = messages.subspan(1);
  }
  chat.form("<|eot_id|>");
  for (const auto& [role, content] : messages) {
    chat.form("<|start_header_id|>").form(role).form("<|end_header_id|>\n\n");
    chat.content(strip(content)).form("<|eot_id|>");
  }
  if (generation_prompt) chat.form("<|start_header_id|>assistant<|end_header_id|>\n\n");
  return chat.take();
}

}  // namespace

ChatTemplate ChatTemplate::open(const std::string& folder, ChatTemplateSetting setting) {
  if (setting != ChatTemplateSetting::automatic) {
    if (setting != ChatTemplateSetting::none) warn_of_another(folder, setting);
    return ChatTemplate(setting);
  }
  const std::optional<FoundTemplate> found = template_of(folder);
  if (!found) return ChatTemplate(ChatTemplateSetting::none);
  const KnownTemplate* known = known_template(found->text);
  if (known == nullptr || known->rendered_by == ChatTemplateSetting::none) {
    throw InputError(said_of(*found, known), found->path, kWhatIsPossible);
  }
  return ChatTemplate(known->rendered_by);
}

ChatTemplateSetting ChatTemplate::kind() const { return kind_; }

RenderedChat ChatTemplate::render(std::span<const ChatMessage> messages,
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
