// Conversations as files write them: [{"role": "user", "content": "Hello"}, ...].
#pragma once
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "data/chat_template.h"

namespace elastron::data {

// `name`: what the list is called in messages of errors, "'prompt'". Roles are system, user and
// assistant. Throws InputError naming `where` for what is no such list, and naming the key for a
// message with a key that is not rendered (name, tool_calls, reasoning_content, ...), unless its
// value is null or empty: left out, the conversation would be another one.
std::vector<ChatMessage> chat_messages(const nlohmann::json& list, const std::string& name,
                                       const std::string& where);

}  // namespace elastron::data
