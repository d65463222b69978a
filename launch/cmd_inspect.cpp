// elastron inspect PATH.h5: what a checkpoint holds, and whether it is whole.
#include <cstdio>
#include <memory>

#include "launch/command.h"
#include "launch/command_line.h"
#include "train/checkpoint/folder.h"
#include "train/checkpoint/inspect.h"

namespace elastron::launch {

namespace {

ExitCode inspect(const std::string& path) {
  std::fflush(nullptr);  // nothing buffered goes into the child
  std::fputs(train::inspect_checkpoint(train::resolve_checkpoint(path)).c_str(), stdout);
  return ExitCode::ok;
}

}  // namespace

void add_inspect(cli::App& app, Command& selected) {
  auto* command = app.add_subcommand("inspect", "what a checkpoint holds, and whether it is whole");
  auto path = std::make_shared<std::string>();
  command->add_option("PATH", *path, "checkpoint, or a run's folder")->required();
  command->callback([&selected, path] { selected.alone = [path] { return inspect(*path); }; });
}

}  // namespace elastron::launch
