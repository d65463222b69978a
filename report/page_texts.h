// The page's style and script: report/style.css and report/script.js.
#pragma once
#include <string_view>

namespace elastron::report {

extern const std::string_view kStyle, kScript;

}  // namespace elastron::report
