// elastron reference: every configuration key with its meaning and default
// (configs/reference.yaml); the manual page and the completion of this program.
#include <cstdio>
#include <memory>
#include <string>

#include "launch/bash_completion.h"
#include "launch/command.h"
#include "launch/command_line.h"
#include "launch/man_page.h"
#include "launch/version.h"
#include "train/config.h"

namespace elastron::launch {

namespace {

std::vector<std::string> configuration_keys() {
  train::Config defaults;
  std::vector<std::string> keys;
  for (const config::Leaf& leaf : config::table_of(defaults).leaves) keys.push_back(leaf.key);
  return keys;
}

}  // namespace

void add_reference(cli::App& app, Command& selected) {
  struct Options {
    bool man_page = false, bash_completion = false;
  };
  auto options = std::make_shared<Options>();
  auto* command = app.add_subcommand("reference", "prints every configuration key");
  auto* page = command->add_flag("--man-page", options->man_page,
                                 "print the manual page of this program instead, for man");
  command
      ->add_flag("--bash-completion", options->bash_completion,
                 "print the completion of its arguments instead, for bash")
      ->excludes(page);
  command->callback([&selected, options, command] {
    std::string text;
    if (options->man_page) {
      text = man_page(command->describe_program(), version_number());
    } else if (options->bash_completion) {
      text = bash_completion(command->describe_program(), configuration_keys());
    } else {
      text = config::reference_config<train::Config>();
    }
    selected.alone = [text] {
      std::fputs(text.c_str(), stdout);
      return ExitCode::ok;
    };
  });
}

}  // namespace elastron::launch
