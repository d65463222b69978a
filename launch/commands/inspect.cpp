// elastron inspect CHECKPOINT [--config] [--json]: what a checkpoint holds, and whether it is
// whole.
#include "train/checkpoint/inspect.h"

#include <cstdio>
#include <memory>

#include "launch/command.h"
#include "launch/command_line.h"
#include "train/checkpoint/folder.h"

namespace elastron::launch {

namespace {

struct Options {
  std::string path;
  train::InspectOptions shown;
};

ExitCode inspect(const Options& options) {
  std::fflush(nullptr);  // nothing buffered goes into the child
  const std::string path = train::resolve_checkpoint(options.path);
  std::fputs(train::inspect_checkpoint(path, options.shown).c_str(), stdout);
  return ExitCode::ok;
}

}  // namespace

void add_inspect(cli::App& app, Command& selected) {
  auto* command = app.add_subcommand("inspect", "what a checkpoint holds, and whether it is whole");
  auto options = std::make_shared<Options>();
  command
      ->add_option("CHECKPOINT", options->path,
                   "a file, a run's folder, or RUNFOLDER/latest, RUNFOLDER/best")
      ->required();
  auto* config = command->add_flag("--config", options->shown.config,
                                   "the whole configuration that it was trained with");
  command->add_flag("--json", options->shown.json, "for programs: one object with everything")
      ->excludes(config);
  command->callback(
      [&selected, options] { selected.alone = [options] { return inspect(*options); }; });
}

}  // namespace elastron::launch
