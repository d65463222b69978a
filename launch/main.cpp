// The elastron program: parses arguments, runs one subcommand, turns errors into one line and the
// contract's exit code.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <sstream>

#include "core/config/suggest.h"
#include "core/error.h"
#include "launch/command.h"
#include "launch/command_line.h"
#include "launch/exit_codes.h"
#include "launch/limits.h"
#include "launch/made_by.h"
#include "launch/self_check/child.h"
#include "launch/signals.h"
#include "launch/version.h"
#include "parallel/agree.h"
#include "parallel/world.h"

namespace elastron::launch {
namespace {

const std::string kInternal = "internal error: ";
const char* const kReport = " (please report): this is a bug in elastron";

// One line per problem.
void print_error(const std::string& text) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::fprintf(stderr, "error: %s\n", line.c_str());
  }
  std::fflush(stderr);
}

// Before MPI is up: whether this process is the one that speaks.
bool first_rank() {
  for (const char* name : {"OMPI_COMM_WORLD_RANK", "PMI_RANK", "SLURM_PROCID"}) {
    if (const char* rank = std::getenv(name)) return std::string(rank) == "0";
  }
  return true;
}

std::string exit_code_text() {
  std::string text = "Exit codes:\n";
  for (const ExitCodeMeaning& code : kExitCodes) {
    text += fmt::format("  {:<27} {}\n", int(code.code), code.meaning);
  }
  text.pop_back();
  return text;
}

// The parser would only say that a subcommand is missing.
void check_subcommand(CLI::App& app, const std::string& word) {
  std::vector<std::string> names;
  for (const CLI::App* subcommand : app.get_subcommands({})) {
    names.push_back(subcommand->get_name());
  }
  if (word.starts_with('-') || std::ranges::find(names, word) != names.end()) return;
  const std::string meant = config::nearest(word, names);
  throw UsageError("there is no subcommand '" + word + "'", "command line",
                   (meant.empty() ? "" : "did you mean " + meant + "? ") + "see elastron --help");
}

// -> the exit code when there is nothing to run.
std::optional<int> parse(int argc, char** argv, Command& selected) {
  CLI::App app{"trains Attention Routers on frozen decoders, and reward models", "elastron"};
  app.require_subcommand(1);
  app.set_version_flag("--version", version_text());
  app.footer(exit_code_text());
  cli::App root(&app);
  selected.line = command_line({argv, size_t(argc)});
  for (const auto& add : kSubcommands) add(root, selected);
  try {
    if (argc > 1) check_subcommand(app, argv[1]);
    app.parse(argc, argv);
  } catch (const UsageError& error) {
    if (first_rank()) print_error(error.what());
    return int(error.kind());
  } catch (const CLI::ParseError& error) {
    // Help and version are "errors" with code 0.
    if (error.get_exit_code() == 0) {
      if (first_rank()) app.exit(error);
      return int(ExitCode::ok);
    }
    if (first_rank()) {
      print_error(std::string(error.what()) + " (command line): see elastron --help");
    }
    return int(ExitCode::usage);
  }
  return {};
}

// HDF5 1.10 crashes in its own clean-up, which MPI_Finalize and exit() run, after a file could not
// be written out. Everything of ours is closed by now.
[[noreturn]] void leave_at_once(parallel::World& world, ExitCode code) {
  std::fflush(nullptr);
  if (world.size() > 1) world.abort(code);
  _exit(int(code));
}

int run_alone(const Command& command) {
  try {
    return int(command.alone());
  } catch (const Error& error) {
    print_error(error.what());
    // Not by way of exit(): see leave_at_once.
    std::fflush(nullptr);
    _exit(int(error.kind()));
  } catch (const std::bad_alloc&) {
    print_error("out of memory (start): use a machine with more, or smaller files");
    return int(ExitCode::communication);
  } catch (const std::exception& error) {
    print_error(kInternal + error.what() + kReport);
    return int(ExitCode::communication);
  }
}

int run_together(const Command& command) {
  std::unique_ptr<parallel::World> world;
  try {
    // A rank that ends while it connects can leave its mpirun hanging.
    on_stop_request(OnStop::note);
    world = std::make_unique<parallel::World>();
    on_stop_request(OnStop::end);
    const ExitCode code = command.together(*world);
    world->finalize();
    return int(code);
  } catch (const parallel::AgreedFailure& failure) {
    if (failure.line()) print_error(*failure.line());
    if (failure.kind() == ExitCode::checkpoint) leave_at_once(*world, failure.kind());
    // All ranks know and leave together: no need to kill anyone.
    world->finalize();
    return int(failure.kind());
  } catch (const Error& error) {
    print_error(error.what());
    if (world && world->size() > 1) world->abort(error.kind());
    return int(error.kind());
  } catch (const std::bad_alloc&) {
    print_error("out of memory (" + (world ? "rank " + std::to_string(world->rank()) : "start") +
                "): lower data.max_tokens or train.micro_batch, recompute more, or use more ranks");
    if (world && world->size() > 1) world->abort(ExitCode::communication);
    return int(ExitCode::communication);
  } catch (const std::exception& error) {
    print_error(kInternal + error.what() + kReport);
    if (world && world->size() > 1) world->abort(ExitCode::communication);
    return int(ExitCode::communication);
  }
}

// A result that did not get out is none.
int flush_output() {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return int(ExitCode::ok);
  print_error("cannot write the result (standard output): make room, or write elsewhere");
  return int(ExitCode::input);
}

}  // namespace
}  // namespace elastron::launch

int main(int argc, char** argv) {
  using namespace elastron::launch;
  // A process of our own that checks a GPU is no subcommand.
  if (self_check::is_child(argc, argv)) return self_check::child_main(argc, argv);
  try {
    prepare_limits();
    take_stop_signals();
  } catch (const elastron::Error& error) {
    if (first_rank()) print_error(error.what());
    return int(error.kind());
  }
  Command command;
  if (const auto code = parse(argc, argv, command)) return *code;
  const int code = command.alone ? run_alone(command) : run_together(command);
  return code == int(elastron::ExitCode::ok) ? flush_output() : code;
}
