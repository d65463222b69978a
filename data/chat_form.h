// The forms of a conversation that are rendered. Templates of one family are one renderer here, and
// what differs between them are values in a table.
#pragma once
#include <span>
#include <string>
#include <string_view>

#include "data/chat_template.h"

namespace elastron::data {

// Tokens that the form consists of: text is cut at them. The last one ends the assistant's turn.
// `form` names a form: neither automatic nor none.
std::span<const std::string_view> control_tokens(ChatTemplateSetting form);

// The conversation as the form's template renders it. There is at least one message, and roles are
// system, user and assistant. Throws InputError naming `where` if the template does not take the
// order of the roles.
RenderedChat render_chat(ChatTemplateSetting form, std::span<const ChatMessage> messages,
                         bool generation_prompt, const std::string& where);

}  // namespace elastron::data
