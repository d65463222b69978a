#include "launch/made_by.h"

#include <fmt/format.h>

#include "launch/version.h"
#include "report/markup.h"

namespace elastron::launch {

namespace {

const std::string kProgram = "elastron";

}  // namespace

std::string command_line(std::span<char* const> arguments) {
  std::string line = kProgram;
  for (size_t i = 1; i < arguments.size(); ++i) line += " " + report::shell_word(arguments[i]);
  return line;
}

nlohmann::ordered_json made_by(const std::string& line, int ranks) {
  const std::string command =
      ranks == 1 ? line : fmt::format("elastron-run -np {}{}", ranks, line.substr(kProgram.size()));
  return {{"program", kProgram + " " + version_number()}, {"command", command}};
}

}  // namespace elastron::launch
