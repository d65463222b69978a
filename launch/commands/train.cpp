// elastron train CONFIG.yaml... [--resume auto|none|PATH]
// [--job TEXT] [--dry-run] [--dump-config] [--set k=v]
#include <cstdio>
#include <memory>

#include "launch/command.h"
#include "launch/command_line.h"
#include "launch/device.h"
#include "launch/runtime.h"
#include "launch/signals.h"
#include "model/weights/model_folder.h"
#include "parallel/agree.h"
#include "train/checkpoint/checkpoint.h"
#include "train/plan/full_attention_line.h"
#include "train/plan/memory_check.h"
#include "train/session.h"
#include "train/trainer.h"

namespace elastron::launch {

namespace {

struct Options {
  ConfigArguments config;
  std::string resume = "auto", job;
  bool dry_run = false, dump_config = false;
};

ExitCode run(const Options& options, parallel::World& world) {
  auto everyone = world.split(0, world.rank(), "world");
  train::Config config = load_run_config(options.config, *everyone);
  if (options.dump_config) {
    if (world.rank() == 0) {
      config::Origins origins;
      const auto again = read_run_config(options.config, &origins);
      std::fputs(config::dump_config(again, &origins).c_str(), stdout);
    }
    return ExitCode::ok;
  }
  Log log({.rank = world.rank()});
  Runtime runtime(world, config);
  config = train::with_stored_router(config, runtime.mesh(), runtime.device());
  const auto mode = options.resume == "auto"   ? train::ResumeMode::automatic
                    : options.resume == "none" ? train::ResumeMode::none
                                               : train::ResumeMode::path;
  if (config.router.force != "none" && world.rank() == 0) {
    log_warning("router.force is {}: it is for eval, training passes it over", config.router.force);
  }
  if (options.dry_run) {
    if (mode == train::ResumeMode::path) {
      std::string path;
      parallel::on_all_ranks(
          *everyone, [&] { path = train::resolve_checkpoint(options.resume, config.output.dir); });
      train::verify_checkpoint(path, runtime.mesh());
    }
    const std::string text = train::describe_run(config, runtime.mesh(), runtime.device());
    if (world.rank() == 0) {
      std::fputs(config::dump_config(config).c_str(), stdout);
      std::fputs(text.c_str(), stdout);
    }
    return ExitCode::ok;
  }
  on_stop_request(OnStop::note);
  runtime.check_kernels(config, /*trains=*/true);
  std::string full_attention;
  parallel::on_all_ranks(*everyone, [&] {
    // Shapes that the weights do not have are a matter of the folder, not of memory.
    const bool load = config.model.weights == train::WeightSource::load;
    const model::RopeOverride& rope = config.model.rope_scaling;
    const model::ModelConfig m = load ? model::ModelFolder(config.model.path, rope).config()
                                      : model::read_model_config(config.model.path, rope);
    train::check_memory(config, m, runtime.mesh().layout(), runtime.device(),
                        runtime.usable_memory());
    full_attention =
        train::full_attention_line(config, m, runtime.mesh().layout(), runtime.device());
  });
  runtime.announce(world, full_attention);
  return train::run_training(config, {.mode = mode, .path = options.resume, .job = options.job},
                             runtime.mesh(), runtime.device(), runtime.watchdog(),
                             {.stop_requested = stop_requested, .folder_is_ours = [&] {
                                log.write_to(config.output.dir + "/log.txt");
                              }});
}

}  // namespace

void add_train(cli::App& app, Command& selected) {
  auto* command = app.add_subcommand("train", "trains what train.objective says");
  auto options = std::make_shared<Options>();
  command->add_option("CONFIG", options->config.files, "configuration files, merged left to right")
      ->required();
  command->add_option("--set", options->config.overrides, "set a key: --set train.steps=20")
      ->allow_extra_args(false);
  command
      ->add_option("--resume", options->resume,
                   "auto: go on with the run in output.dir; none: a new one; or a checkpoint: "
                   "latest, best, a file, a run's folder")
      ->capture_default_str();
  command->add_option("--job", options->job,
                      "any text: of several starts with the same one only the first begins what "
                      "--resume none or a checkpoint says, the others go on with it");
  command->add_flag("--dry-run", options->dry_run,
                    "print the resolved configuration, parameters and memory, and end");
  command->add_flag("--dump-config", options->dump_config,
                    "print the configuration and where each value comes from, and end");
  command->callback([&selected, options] {
    selected.together = [options](parallel::World& world) { return run(*options, world); };
  });
}

}  // namespace elastron::launch
