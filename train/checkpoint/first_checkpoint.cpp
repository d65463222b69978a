#include "train/checkpoint/first_checkpoint.h"

#include <filesystem>

#include "core/file/exists.h"
#include "parallel/agree.h"
#include "train/checkpoint/checkpoint.h"
#include "train/run_folder.h"
#include "train/step/step.h"

namespace elastron::train {

namespace fs = std::filesystem;

void require_new_checkpoint_folder(const std::string& folder) {
  if (folder.ends_with(".h5")) {
    throw UsageError("checkpoints name themselves", folder, "name a folder");
  }
  const fs::path path = fs::path(folder + "/").lexically_normal().parent_path();
  if (path.filename() == "checkpoints" && exists(path.parent_path() / RunFolder::kRecord)) {
    throw UsageError("the folder belongs to a run", folder,
                     "name another folder, and start with --resume and its name");
  }
  if (!checkpoints_in(folder).empty()) {
    throw UsageError("the folder already has checkpoints", folder, "name another folder");
  }
}

std::string shared_fingerprint(const model::ModelFolder& backbone, parallel::Mesh& mesh) {
  std::string checksums;
  parallel::on_all_ranks(mesh.world(), [&] {
    checksums = backbone.tensor_checksums(mesh.world().rank(), mesh.world().size());
  });
  return backbone.fingerprint(mesh.world().all_gather_host(checksums));
}

std::string write_checkpoint_of_step_0(const std::string& folder, const Config& config,
                                       const ParameterList& parameters,
                                       const std::string& fingerprint, parallel::Mesh& mesh) {
  Optimizer optimizer(parameters, config.train.adam, config.train.weight_decay);
  CheckpointHeader header{
      .objective = std::string(config::enum_name(config.train.objective)),
      .backbone_fingerprint = fingerprint,
      .config = config::dump_config(config),
      .random = {{"generator", "philox4x32-10"}, {"seed", std::to_string(config.train.seed)}}};
  StepRunner::Counters counters;
  for (const auto& [name, value] : counters.named()) header.state[name] = std::to_string(*value);
  CheckpointStore store(folder, config.checkpoint.keep, mesh);
  return store.save(header, {optimizer.parameters(), &optimizer.moments()});
}

}  // namespace elastron::train
