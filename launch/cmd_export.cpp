// elastron export --checkpoint PATH --out DIR [--format hf-reference|safetensors] [--model DIR]
//                 [--dtype float32|bfloat16]
#include <CLI/CLI.hpp>
#include <memory>

#include "core/log.h"
#include "launch/command.h"
#include "parallel/agree.h"
#include "router/reference_exchange.h"
#include "train/config.h"
#include "train/router_exchange.h"

namespace elastron::launch {

namespace {

struct Options {
  std::string checkpoint, out, format = "safetensors", model, dtype = "float32";
};

ExitCode run(const Options& options, parallel::World& world) {
  const Log log({.rank = world.rank()});
  CpuDevice device;
  parallel::Mesh mesh(world, parallel::MeshLayout::resolve(world.size(), 0, 1, 1));
  const DType dtype = dtype_from_name(options.dtype);
  const auto router = train::read_router(options.checkpoint, mesh, device);
  parallel::on_all_ranks(mesh.world(), [&] {
    if (world.rank() != 0) return;
    if (options.format == "safetensors") {
      train::write_router(options.out, router, dtype);
    } else {
      const bool whole_config = !options.model.empty();
      const std::string model = whole_config ? options.model : router.backbone_path;
      if (model.empty()) {
        throw UsageError("the backbone is not known", "--model",
                         "give its folder: the format needs its architecture and kv heads");
      }
      for (const std::string& line : router::reference_differences(router.config)) {
        log_warning("the published implementation does not do the same: {}", line);
      }
      train::write_reference_router(options.out, router, model, whole_config, dtype, device);
    }
  });
  log_info("the router is in {}", options.out);
  return ExitCode::ok;
}

}  // namespace

void add_export(CLI::App& app, Command& selected) {
  auto* command = app.add_subcommand("export", "a trained router as a small safetensors file");
  auto options = std::make_shared<Options>();
  command
      ->add_option("--checkpoint", options->checkpoint,
                   "checkpoint, a run's folder, or another trained router")
      ->required();
  command->add_option("--out", options->out, "folder to write to")->required();
  command
      ->add_option("--format", options->format,
                   "safetensors: our names; hf-reference: those of the published implementation")
      ->check(CLI::IsMember({"safetensors", "hf-reference"}))
      ->capture_default_str();
  command
      ->add_option("--model", options->model,
                   "with hf-reference: the backbone's folder, whose whole config.json is written; "
                   "without it, what the checkpoint was trained on is looked at")
      ->check(CLI::ExistingDirectory);
  command->add_option("--dtype", options->dtype, "what the tensors are stored in; float32 is exact")
      ->check(CLI::IsMember({"float32", "bfloat16"}))
      ->capture_default_str();
  command->callback([&selected, options] {
    selected.together = [options](parallel::World& world) { return run(*options, world); };
  });
}

}  // namespace elastron::launch
