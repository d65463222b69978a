// Chat templates that are known by their text, and what renders them. Two texts that differ in one
// character may render differently, so a text that is not in the table is taken for none of them.
#pragma once
#include <string>
#include <string_view>

#include "data/chat_template.h"

namespace elastron::data {

struct KnownTemplate {
  std::string_view hash;                                        // template_hash() of its text
  std::string_view name;                                        // "Qwen3's"
  ChatTemplateSetting rendered_by = ChatTemplateSetting::none;  // none: it is not rendered here
};

// XXH3-128 of the text as Jinja reads it: lines end with a newline, and one newline at the end of
// the text does not count.
std::string template_hash(std::string_view text);

// Null for a text that is not known.
const KnownTemplate* known_template(std::string_view text);

}  // namespace elastron::data
