// Subcommands. Each file of commands/ adds its options to the parser and says what to run.
#pragma once
#include <functional>
#include <string>

#include "core/error.h"
#include "parallel/world.h"

namespace elastron::launch::cli {
class App;
}

namespace elastron::launch {

// The chosen subcommand's work, once the arguments are parsed: with all ranks, or alone (such a
// command starts no MPI).
struct Command {
  std::function<ExitCode(parallel::World&)> together;
  std::function<ExitCode()> alone;
  std::string line;  // as it was given, for a shell: "elastron eval CONFIG.yaml"
};

using AddSubcommand = void (*)(cli::App& app, Command& selected);

void add_train(cli::App& app, Command& selected);
void add_eval(cli::App& app, Command& selected);
void add_eval_reward(cli::App& app, Command& selected);
void add_inspect(cli::App& app, Command& selected);
void add_pack(cli::App& app, Command& selected);
void add_plan(cli::App& app, Command& selected);
void add_synthesize(cli::App& app, Command& selected);
void add_tokenize(cli::App& app, Command& selected);
void add_reference(cli::App& app, Command& selected);
void add_export(cli::App& app, Command& selected);
void add_import(cli::App& app, Command& selected);
void add_logits(cli::App& app, Command& selected);
void add_score_heads(cli::App& app, Command& selected);
void add_generate(cli::App& app, Command& selected);
void add_benchmark(cli::App& app, Command& selected);
void add_serve(cli::App& app, Command& selected);
void add_report(cli::App& app, Command& selected);

inline constexpr AddSubcommand kSubcommands[] = {
    add_plan,   add_train,   add_eval,     add_eval_reward, add_benchmark,   add_report,
    add_pack,   add_logits,  add_generate, add_serve,       add_score_heads, add_export,
    add_import, add_inspect, add_tokenize, add_synthesize,  add_reference};

}  // namespace elastron::launch
