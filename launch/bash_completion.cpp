#include "launch/bash_completion.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace elastron::launch {

namespace {

// A call of the script that offers what may stand where an option's value does.
std::string values_of(const cli::OptionText& option) {
  for (const std::string& name : option.names) {
    if (name == "--set") return "_elastron_keys";
  }
  if (!option.words.empty())
    return fmt::format("_elastron_words \"{}\"", fmt::join(option.words, " "));
  return option.kind == "TEXT" ? "_elastron_files" : ":";
}

void write_command(const cli::CommandText& command, std::string& script) {
  std::string flags, values, repeats;
  std::string by_place = "_elastron_files";
  for (const cli::OptionText& option : command.options) {
    if (option.by_place) {
      if (option.names.front() == "CONFIG") by_place = "_elastron_configs";
      continue;
    }
    for (const std::string& name : option.names) flags += (flags.empty() ? "" : " ") + name;
    if (option.kind.empty()) continue;
    const std::string names = fmt::format("{}", fmt::join(option.names, "|"));
    values += fmt::format("        {}) {}; return ;;\n", names, values_of(option));
    if (option.repeats) repeats += (repeats.empty() ? "" : "|") + names;
  }
  script += fmt::format("    {})\n", command.name);
  // The option whose values go on here: the one before, or one that takes several.
  if (!repeats.empty()) {
    script += fmt::format("      case $open in {}) previous=$open ;; esac\n", repeats);
  }
  if (!values.empty()) script += "      case $previous in\n" + values + "      esac\n";
  script += fmt::format("      case $current in -*) _elastron_words \"{}\" ;; *) {} ;; esac\n",
                        flags, by_place);
  script += "      ;;\n";
}

const char* const kBegin =
    R"(# Completion of elastron by bash, written by: elastron reference --bash-completion

_elastron_words() { mapfile -t COMPREPLY < <(compgen -W "$1" -- "$current"); }
_elastron_files() {
  compopt -o filenames
  mapfile -t COMPREPLY < <(compgen -f -- "$current")
}
_elastron_configs() {
  compopt -o filenames
  mapfile -t COMPREPLY < <(compgen -d -- "$current"; compgen -f -X '!*.yaml' -- "$current")
}
)";

const char* const kMain = R"(
_elastron() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
  local command="" open="" word at
  for ((at = 1; at < COMP_CWORD; ++at)); do
    word=${COMP_WORDS[at]}
    if [ -n "$command" ]; then
      case $word in -*) open=$word ;; esac
    else
      case $word in )";

}  // namespace

std::string bash_completion(const cli::CommandText& program, const std::vector<std::string>& keys) {
  std::vector<std::string> names;
  for (const cli::CommandText& command : program.commands) names.push_back(command.name);
  std::vector<std::string> flags;
  for (const cli::OptionText& option : program.options) {
    flags.insert(flags.end(), option.names.begin(), option.names.end());
  }
  std::string script = kBegin;
  // Behind the = of --set KEY=VALUE, which bash counts as a word of its own, a file may follow.
  script += "_elastron_keys() {\n  compopt -o nospace\n  _elastron_words \"";
  for (const std::string& key : keys) script += key + "= ";
  script.back() = '"';
  script += "\n}\n";
  script += kMain;
  script += fmt::format("{}) command=$word ;; esac\n", fmt::join(names, "|"));
  script += "    fi\n  done\n  COMPREPLY=()\n";
  script += "  case $current in =) current=\"\"; previous=\"=\" ;; esac\n";
  script += "  if [ \"$previous\" = \"=\" ]; then _elastron_files; return; fi\n";
  script += "  case $command in\n";
  script += fmt::format(
      "    \"\")\n      local options=\"{}\"\n"
      "      case ${{COMP_WORDS[0]}} in *-run) options=\"-np --hostfile --restarts --help\" ;; "
      "esac\n"
      "      case $previous in --hostfile) _elastron_files; return ;; esac\n"
      "      case $current in -*) _elastron_words \"$options\" ;; *) _elastron_words \"{}\" ;; "
      "esac\n"
      "      ;;\n",
      fmt::join(flags, " "), fmt::join(names, " "));
  for (const cli::CommandText& command : program.commands) write_command(command, script);
  script += "  esac\n}\ncomplete -F _elastron elastron elastron-run\n";
  return script;
}

}  // namespace elastron::launch
