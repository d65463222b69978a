// elastron export --checkpoint PATH --out DIR [--format hf-reference|safetensors] [--model DIR]
//                 [--dtype float32|bfloat16] [--base-model NAME]
#include <filesystem>
#include <memory>

#include "core/log.h"
#include "launch/command.h"
#include "launch/command_line.h"
#include "parallel/agree.h"
#include "router/reference_exchange.h"
#include "train/checkpoint/checkpoint.h"
#include "train/config.h"
#include "train/exchange/reward_exchange.h"
#include "train/exchange/router_exchange.h"
#include "train/workload/registry.h"

namespace elastron::launch {

namespace {

struct Options {
  std::string checkpoint, out, format = "safetensors", model, dtype, base_model;
};

void export_router(const Options& options, const router::StoredRouter& router, Device& device) {
  const DType dtype = dtype_from_name(options.dtype.empty() ? "float32" : options.dtype);
  if (options.format == "safetensors") {
    train::write_router(options.out, router, dtype);
    return;
  }
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

// A whole model is made of the backbone's folder: writing there would replace what is read.
void refuse_to_replace(const std::string& backbone, const Options& options) {
  std::error_code error;
  if (backbone.empty() || !std::filesystem::equivalent(backbone, options.out, error)) return;
  throw UsageError("that is the folder of the backbone", "--out", "name another folder");
}

void export_reward(const Options& options, const train::StoredReward& reward, Device& device) {
  std::optional<DType> dtype;
  if (!options.dtype.empty()) dtype = dtype_from_name(options.dtype);
  const std::string model = options.model.empty() ? reward.config.model.path : options.model;
  refuse_to_replace(model, options);
  if (options.format == "safetensors") {
    // As the user calls it: what reads the adapter looks for its base under that name.
    const std::string& base =
        options.base_model.empty() ? reward.config.model.path : options.base_model;
    train::write_reward_adapter(options.out, reward, model, base, dtype);
  } else {
    train::write_reward_model(options.out, reward, model, dtype, device);
  }
}

ExitCode run(const Options& options, parallel::World& world) {
  const Log log({.rank = world.rank()});
  CpuDevice device;
  parallel::Mesh mesh(world, parallel::MeshLayout::resolve(world.size(), 0, 1, 1));
  // The path of the checkpoint that is exported; empty where the folder is no checkpoint.
  std::string checkpoint;
  parallel::on_all_ranks(mesh.world(), [&] {
    if (!train::is_exchange_folder(options.checkpoint)) {
      checkpoint = train::resolve_checkpoint(options.checkpoint);
    }
  });
  if (!checkpoint.empty()) {
    const auto header = train::verify_checkpoint(checkpoint, mesh);
    if (header.objective == train::kReward) {
      parallel::on_all_ranks(mesh.world(), [&] {
        if (world.rank() != 0) return;
        export_reward(options, train::read_reward(checkpoint, header, device), device);
      });
      log_info("the reward model is in {}", options.out);
      return ExitCode::ok;
    }
  }
  const auto router = train::read_router(options.checkpoint, mesh, device);
  parallel::on_all_ranks(mesh.world(), [&] {
    if (world.rank() == 0) export_router(options, router, device);
  });
  log_info("the router is in {}", options.out);
  return ExitCode::ok;
}

}  // namespace

void add_export(cli::App& app, Command& selected) {
  auto* command =
      app.add_subcommand("export", "a trained router or reward model as files for others");
  auto options = std::make_shared<Options>();
  command
      ->add_option("--checkpoint", options->checkpoint,
                   "checkpoint, a run's folder, or another trained router")
      ->required();
  command->add_option("--out", options->out, "folder to write to")->required();
  command
      ->add_option("--format", options->format,
                   "of a router: safetensors, our names, or hf-reference, those of the published "
                   "implementation; of a reward model: hf-reference, a model folder of the "
                   "transformers library, or safetensors, its adapters and head as the peft "
                   "library reads them")
      ->check(cli::IsMember({"safetensors", "hf-reference"}))
      ->capture_default_str();
  command
      ->add_option(
          "--model", options->model,
          "the backbone's folder; without it, what the checkpoint was trained on is looked "
          "at, and of a router's hf-reference only the keys of its own are written")
      ->check(cli::ExistingDirectory);
  command->add_option("--base-model", options->base_model,
                      "how adapters name their base model, such as Qwen/Qwen3-8B; default: "
                      "model.path of the run");
  command
      ->add_option("--dtype", options->dtype,
                   "what the tensors are stored in; default: float32, which is exact, or a whole "
                   "model's own")
      ->check(cli::IsMember({"float32", "bfloat16"}));
  command->callback([&selected, options] {
    selected.together = [options](parallel::World& world) { return run(*options, world); };
  });
}

}  // namespace elastron::launch
