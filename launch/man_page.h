// The manual page of the program, in the man macros of roff: man1/elastron.1.
#pragma once
#include <string>

#include "launch/command_text.h"

namespace elastron::launch {

std::string man_page(const cli::CommandText& program, const std::string& version);

}  // namespace elastron::launch
