#include "launch/man_page.h"

#include <fmt/format.h>

#include <cctype>

#include "launch/exit_codes.h"

namespace elastron::launch {

namespace {

// Text that roff takes for nothing else: no escape, no hyphen for a minus, no request at a line's
// begin.
std::string plain(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '\\') {
      out += "\\e";
    } else if (c == '-') {
      out += "\\-";
    } else {
      out += c;
    }
  }
  if (out.starts_with('.') || out.starts_with('\'')) out.insert(0, "\\&");
  return out;
}

std::string value_of(const cli::OptionText& option) {
  std::string value;
  // A long list of words goes on in the next line behind a bar.
  for (const std::string& word : option.words) value += (value.empty() ? "" : "|\\:") + plain(word);
  if (value.empty()) value = plain(option.kind);
  return value.empty() ? "" : " \\fI" + value + "\\fR" + (option.repeats ? " ..." : "");
}

// The line above the words on an option, and these.
void write_option(const cli::OptionText& option, std::string& page) {
  std::string names;
  for (const std::string& name : option.names) {
    names += (names.empty() ? "" : ", ") + std::string(option.by_place ? "\\fI" : "\\fB") +
             plain(name) + "\\fR";
  }
  page += ".TP\n" + names;
  page += option.by_place ? (option.repeats ? " ..." : "") : value_of(option);
  page += "\n" + plain(option.doc);
  if (!option.limits.empty()) page += plain("; " + option.limits);
  if (!option.fallback.empty()) page += plain("; default: " + option.fallback);
  if (option.required) page += "; required";
  page += "\n";
}

// Arguments by place as a line of use has them: CONFIG ..., [CONFIG ...].
std::string arguments_of(const cli::CommandText& command) {
  std::string text;
  for (const cli::OptionText& option : command.options) {
    if (!option.by_place) continue;
    const std::string name =
        "\\fI" + plain(option.names.front()) + "\\fR" + (option.repeats ? " ..." : "");
    text += option.required ? " " + name : " [" + name + "]";
  }
  return text;
}

}  // namespace

std::string man_page(const cli::CommandText& program, const std::string& version) {
  const std::string name = plain(program.name);
  std::string upper = program.name;
  for (char& c : upper) c = char(std::toupper(static_cast<unsigned char>(c)));
  std::string page =
      fmt::format(".TH {} 1 \"\" \"{} {}\" \"User Commands\"\n", upper, name, plain(version));
  page += ".ad l\n";  // lists of words have no blanks to spread
  page += fmt::format(".SH NAME\n{} \\- {}\n", name, plain(program.doc));
  page += fmt::format(
      ".SH SYNOPSIS\n.B {0}\n.I SUBCOMMAND\n[options]\n.br\n.B {0}\\-run\n[\\fB\\-np\\fR "
      "\\fIN\\fR]\n.I SUBCOMMAND\n[options]\n",
      name);
  page += fmt::format(
      ".SH DESCRIPTION\nOne subcommand runs, on one rank, or on several under\n.BR mpirun (1)\nor "
      "\\fB{0}\\-run \\-np\\fR \\fIN\\fR, which chooses what mpirun needs and passes signals on "
      "(\\fB{0}\\-run \\-\\-help\\fR).\n",
      name);
  page += ".SH OPTIONS\n";
  for (const cli::OptionText& option : program.options) write_option(option, page);
  page += ".SH SUBCOMMANDS\n";
  for (const cli::CommandText& command : program.commands) {
    page += fmt::format(".SS \"{0} {1}\"\n{2}\n.PP\n\\fB{0} {1}\\fR [options]{3}\n", name,
                        plain(command.name), plain(command.doc), arguments_of(command));
    for (const cli::OptionText& option : command.options) {
      if (option.names.back() != "--help") write_option(option, page);
    }
  }
  page += ".SH EXIT STATUS\n";
  for (const ExitCodeMeaning& code : kExitCodes) {
    page += fmt::format(".TP\n.B {}\n{}\n", int(code.code), plain(std::string(code.meaning)));
  }
  page += fmt::format(
      ".SH FILES\n.TP\n.I configs/\nConfigurations that ship. A path that begins with configs/ and "
      "is not there is looked for beside the program, and in share/{0} of an installed one; "
      "configs/reference.yaml has every key.\n.SH SEE ALSO\n.BR mpirun (1),\nthe pages in "
      "share/doc/{0}\n",
      name);
  return page;
}

}  // namespace elastron::launch
