#include "data/chat_messages.h"

#include "core/config/problems.h"
#include "core/error.h"

namespace elastron::data {

namespace {

using nlohmann::json;

const std::string& text_of(const json& message, const char* key, const std::string& name,
                           const std::string& where) {
  const std::string todo = R"(give messages such as {"role": "user", "content": "Hello"})";
  const auto it = message.find(key);
  if (it == message.end()) {
    throw InputError("field '" + std::string(key) + "' is missing in a message of " + name, where,
                     todo);
  }
  if (!it->is_string()) {
    throw InputError(
        "field '" + std::string(key) + "' of a message of " + name + " is not a string", where,
        todo);
  }
  return it->get_ref<const std::string&>();
}

bool says_nothing(const json& value) {
  return value.is_null() || (value.is_string() && value.get_ref<const std::string&>().empty()) ||
         (value.is_structured() && value.empty());
}

}  // namespace

std::vector<ChatMessage> chat_messages(const json& list, const std::string& name,
                                       const std::string& where) {
  if (!list.is_array() || list.empty()) {
    throw InputError(name + " is not a list of messages", where,
                     R"(give a list such as [{"role": "user", "content": "Hello"}])");
  }
  std::vector<ChatMessage> messages;
  for (const json& message : list) {
    if (!message.is_object()) {
      throw InputError("a message of " + name + " is not an object", where,
                       "give each message a role and its content");
    }
    const std::string& role = text_of(message, "role", name, where);
    if (role != "system" && role != "user" && role != "assistant") {
      throw InputError("a message of " + name + " has the role " + config::in_quotes(role), where,
                       "roles are system, user and assistant");
    }
    for (const auto& [key, value] : message.items()) {
      if (key == "role" || key == "content" || says_nothing(value)) continue;
      throw InputError("a message of " + name + " has the key " + config::in_quotes(key) +
                           ", which is not rendered",
                       where, "take it out, or write what it says into the content");
    }
    messages.push_back({role, text_of(message, "content", name, where)});
  }
  return messages;
}

}  // namespace elastron::data
