// The texts in reward/prompts/, which CMake builds in.
#pragma once
#include <string_view>

namespace elastron::reward {

extern const std::string_view kConstraintAuditPrompt;
extern const std::string_view kGeneralPrompt;

}  // namespace elastron::reward
