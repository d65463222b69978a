#include "data/chat_template.h"

#include <fmt/format.h>

#include <filesystem>
#include <mutex>
#include <optional>
#include <set>

#include "core/config/problems.h"
#include "core/error.h"
#include "core/file/exists.h"
#include "core/file/input_file.h"
#include "core/json.h"
#include "core/log.h"
#include "data/chat_form.h"
#include "data/config.h"
#include "data/known_templates.h"

namespace elastron::data {

namespace {

constexpr uint64_t kMostTemplateBytes = uint64_t(1) << 20;
constexpr uint64_t kMostConfigBytes = uint64_t(16) << 20;
constexpr const char* kWhatIsPossible =
    "data.chat_template: none takes records as plain text, without turns; the name of a form "
    "(docs/tokenizers.md) is right only where the model was trained on that form";

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

RenderedChat ChatTemplate::render(std::span<const ChatMessage> messages, bool generation_prompt,
                                  const std::string& where) const {
  if (messages.empty()) {
    throw InputError("a conversation without messages", where, "give at least one message");
  }
  for (const ChatMessage& message : messages) {
    if (message.role != "system" && message.role != "user" && message.role != "assistant") {
      throw InputError("role " + config::in_quotes(message.role), where,
                       "roles are system, user and assistant");
    }
  }
  return render_chat(kind_, messages, generation_prompt, where);
}

}  // namespace elastron::data
