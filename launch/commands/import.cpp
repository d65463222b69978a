// elastron import --from DIR --model DIR --out DIR: a router, or the adapter of a reward model, of
// other origin as a checkpoint.
#include <memory>

#include "core/log.h"
#include "launch/command.h"
#include "launch/command_line.h"
#include "train/exchange/adapter_exchange.h"
#include "train/exchange/router_exchange.h"

namespace elastron::launch {

namespace {

struct Options {
  std::string from, model, out;
};

ExitCode run(const Options& options, parallel::World& world) {
  const Log log({.rank = world.rank()});
  CpuDevice device;
  parallel::Mesh mesh(world, parallel::MeshLayout::resolve(world.size(), 0, 1, 1));
  std::string path;
  if (train::is_adapter_folder(options.from)) {
    path = train::import_adapter(options.from, options.model, options.out, mesh, device);
  } else {
    const auto router = train::read_router(options.from, mesh, device);
    path = train::write_first_checkpoint(options.out, router, options.from, options.model, mesh,
                                         device);
  }
  log_info("wrote {}", path);
  return ExitCode::ok;
}

}  // namespace

void add_import(cli::App& app, Command& selected) {
  auto* command =
      app.add_subcommand("import", "a router or an adapter of other origin as a checkpoint");
  auto options = std::make_shared<Options>();
  command
      ->add_option("--from", options->from,
                   "folder of the published implementation, an exported router, or the adapter of "
                   "a reward model in the file form of the peft library")
      ->required();
  command->add_option("--model", options->model, "the backbone's folder")->required();
  command->add_option("--out", options->out, "folder of checkpoints to make")->required();
  command->callback([&selected, options] {
    selected.together = [options](parallel::World& world) { return run(*options, world); };
  });
}

}  // namespace elastron::launch
