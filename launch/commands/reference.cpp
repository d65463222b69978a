// elastron reference: every configuration key with its meaning and default
// (configs/reference.yaml).
#include <cstdio>

#include "launch/command.h"
#include "launch/command_line.h"
#include "train/config.h"

namespace elastron::launch {

void add_reference(cli::App& app, Command& selected) {
  auto* command = app.add_subcommand("reference", "prints every configuration key");
  command->callback([&selected] {
    selected.alone = [] {
      std::fputs(config::reference_config<train::Config>().c_str(), stdout);
      return ExitCode::ok;
    };
  });
}

}  // namespace elastron::launch
