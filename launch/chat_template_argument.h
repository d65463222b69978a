// --chat-template of commands without a configuration.
#pragma once
#include <string>
#include <vector>

#include "data/chat_template.h"

namespace elastron::launch {

// Names of settings that render: without none.
std::vector<std::string> chat_template_forms();
// Of one of these names, or none.
data::ChatTemplateSetting chat_template_setting(const std::string& name);

}  // namespace elastron::launch
