// Subcommands. Each file cmd_<name>.cpp adds its options to the parser and says what to run.
#pragma once
#include <functional>

#include "core/error.h"
#include "parallel/world.h"

namespace CLI {
class App;
}

namespace elastron::launch {

// What the chosen subcommand runs, once the arguments are parsed: with all ranks, or alone (such a
// command starts no MPI).
struct Command {
  std::function<ExitCode(parallel::World&)> together;
  std::function<ExitCode()> alone;
};

using AddSubcommand = void (*)(CLI::App& app, Command& selected);

void add_train(CLI::App& app, Command& selected);
void add_eval(CLI::App& app, Command& selected);
void add_eval_reward(CLI::App& app, Command& selected);
void add_inspect(CLI::App& app, Command& selected);
void add_pack(CLI::App& app, Command& selected);
void add_plan(CLI::App& app, Command& selected);
void add_synthesize(CLI::App& app, Command& selected);
void add_tokenize(CLI::App& app, Command& selected);
void add_reference(CLI::App& app, Command& selected);
void add_export(CLI::App& app, Command& selected);
void add_import(CLI::App& app, Command& selected);
void add_logits(CLI::App& app, Command& selected);
void add_score_heads(CLI::App& app, Command& selected);
void add_generate(CLI::App& app, Command& selected);

inline constexpr AddSubcommand kSubcommands[] = {
    add_plan,    add_train,    add_eval,        add_eval_reward, add_pack,
    add_logits,  add_generate, add_score_heads, add_export,      add_import,
    add_inspect, add_tokenize, add_synthesize,  add_reference};

}  // namespace elastron::launch
