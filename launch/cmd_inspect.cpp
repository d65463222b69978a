// elastron inspect PATH.h5: what a checkpoint holds, and whether it is whole.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launch/command.h"
#include "train/checkpoint/checkpoint.h"

namespace elastron::launch {

namespace {

// HDF5 has crashed on hostile files before. The file is read in a child process, so that a crash of
// the library is an error message here.
ExitCode inspect(const std::string& path) {
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child < 0) {
    throw UsageError("cannot start a process", "inspect", "free memory or processes");
  }
  if (child == 0) {
    const rlimit time{120, 120}, no_core{0, 0};
    setrlimit(RLIMIT_CPU, &time);
    setrlimit(RLIMIT_CORE, &no_core);
    int code = 0;
    try {
      std::fputs(train::describe_checkpoint(train::resolve_checkpoint(path)).c_str(), stdout);
    } catch (const Error& error) {
      std::fprintf(stderr, "error: %s\n", error.what());
      code = int(error.kind());
    } catch (const std::exception& error) {
      std::fprintf(stderr, "error: the file cannot be read: %s (%s): use another checkpoint\n",
                   error.what(), path.c_str());
      code = int(ExitCode::checkpoint);
    }
    std::fflush(nullptr);
    _exit(code);
  }
  int status = 0;
  waitpid(child, &status, 0);
  if (WIFEXITED(status)) return ExitCode(WEXITSTATUS(status));
  throw CheckpointError("HDF5 crashed on the file", path, "the file is damaged; use another");
}

}  // namespace

void add_inspect(CLI::App& app, Command& selected) {
  auto* command = app.add_subcommand("inspect", "what a checkpoint holds, and whether it is whole");
  auto path = std::make_shared<std::string>();
  command->add_option("PATH", *path, "checkpoint, or a run's folder")->required();
  command->callback([&selected, path] { selected.alone = [path] { return inspect(*path); }; });
}

}  // namespace elastron::launch
