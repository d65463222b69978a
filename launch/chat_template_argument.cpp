#include "launch/chat_template_argument.h"

#include "data/config.h"

namespace elastron::launch {

using data::ChatTemplateSetting;

std::vector<std::string> chat_template_forms() {
  std::vector<std::string> names;
  for (const auto& entry : config::EnumNames<ChatTemplateSetting>::names) {
    if (entry.value != ChatTemplateSetting::none) names.emplace_back(entry.name);
  }
  return names;
}

ChatTemplateSetting chat_template_setting(const std::string& name) {
  for (const auto& entry : config::EnumNames<ChatTemplateSetting>::names) {
    if (entry.name == name) return entry.value;
  }
  return ChatTemplateSetting::automatic;
}

}  // namespace elastron::launch
