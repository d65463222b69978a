// Preference rows whose responses are lists of messages, as most published sets have them.
#pragma once
#include <nlohmann/json.hpp>
#include <string>

#include "reward/rows.h"

namespace elastron::reward {

// Whether the row's responses are such lists.
bool has_message_lists(const nlohmann::json& object);

// prompt, responses and what stands before them, of
//   {"prompt": text or list, "chosen": list, "rejected" or "rejects": list or several}
// `rejected`: the name of the latter. The lists may begin with the prompt, or follow it; a row
// without a prompt has what all its lists begin with as one, at least the last message of each left
// out. Throws InputError naming the row's place and the field.
void read_message_lists(PreferenceRow& row, const nlohmann::json& object,
                        const std::string& rejected);

}  // namespace elastron::reward
