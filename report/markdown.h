// Texts and tables in Markdown as GitHub reads it.
#pragma once
#include <string>
#include <string_view>

#include "report/table.h"

namespace elastron::report {

// Plain text that stays it: no markup of Markdown or HTML, in one line.
std::string markdown_text(std::string_view text);

// Numbers to the right, rounded for people; texts as markdown_text() has them.
std::string markdown_of(const Table& table);

// A block of code, whatever the text has of back quotes.
std::string markdown_code(std::string_view text);

}  // namespace elastron::report
