// What a file of figures says of how it came about: the program and the command that makes it again.
#pragma once
#include <nlohmann/json.hpp>
#include <span>
#include <string>

namespace elastron::launch {

// The program's arguments with its name before them, quoted for a shell.
std::string command_line(std::span<char* const> arguments);

// {"program": "elastron 0.2.0", "command": `line` on so many ranks}.
nlohmann::ordered_json made_by(const std::string& line, int ranks);

}  // namespace elastron::launch
