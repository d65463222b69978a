#include "train/exchange/router_exchange.h"

#include <filesystem>
#include <memory>

#include "core/file/atomic_file.h"
#include "core/file/exists.h"
#include "core/json.h"
#include "core/plural.h"
#include "data/packed_batch.h"
#include "model/weights/model_folder.h"
#include "model/weights/rope_settings.h"
#include "ops/elementwise.h"
#include "parallel/agree.h"
#include "router/layer_routers.h"
#include "router/objective.h"
#include "router/reference_exchange.h"
#include "train/checkpoint/checkpoint.h"
#include "train/checkpoint/first_checkpoint.h"
#include "train/config.h"
#include "train/workload/registry.h"

namespace elastron::train {

namespace fs = std::filesystem;

namespace {

constexpr const char* kRouterFile = "router.safetensors";
constexpr const char* kSettings = "router.json";
constexpr const char* kConfig = "config.json";
constexpr uint64_t kLongestJson = uint64_t(1) << 20;

nlohmann::json read_json(const std::string& path) {
  return parse_json_strict(read_small_file(path, kLongestJson), path,
                           {.max_bytes = kLongestJson, .max_depth = 16});
}

// The folder with the files, or nothing where `path` is for checkpoints.
std::optional<std::string> exchange_folder(const std::string& path) {
  if (path.ends_with(".safetensors")) {
    const fs::path file = path;
    if (file.filename() != kRouterFile || !exists(path)) {
      throw InputError("not an exported router", path,
                       "name the folder with router.safetensors and its settings");
    }
    return file.has_parent_path() ? file.parent_path().string() : ".";
  }
  for (const char* name : {kSettings, kConfig, kRouterFile}) {
    if (exists(path + "/" + name)) return path;
  }
  return {};
}

router::StoredRouter read_folder(const std::string& folder, Device& device) {
  const std::string router = folder + "/" + kRouterFile;
  const auto homes_of = [](const SafetensorsFile& file) {
    TensorHomes homes;
    for (const auto& [name, entry] : file.entries()) homes.emplace(name, &file);
    return homes;
  };
  if (exists(folder + "/" + kSettings)) {
    const std::string settings = folder + "/" + kSettings;
    const SafetensorsFile file(router);
    return router::from_logical(homes_of(file),
                                router::read_settings(read_json(settings), settings),
                                data::kTaskCount, router, device);
  }
  const std::string config = folder + "/" + kConfig;
  const auto keys = read_json(config);
  if (exists(router)) {
    const SafetensorsFile file(router);
    return router::from_reference(homes_of(file), keys, config, data::kTaskCount, router, device);
  }
  const SafetensorsFolder weights(folder);
  return router::from_reference(weights.homes(), keys, config, data::kTaskCount, folder, device);
}

// `path` was verified.
router::StoredRouter read_checkpoint(const std::string& path, const CheckpointHeader& header,
                                     Device& device, const OnSlice& on_slice) {
  require_objective(header, kRouter, path, "name the checkpoint of a router");
  router::StoredRouter router;
  const Config config = config::parse_config<Config>(header.config, path);
  router.config = config.router;
  router.backbone_path = config.model.path;
  router.rope_scaling = stored_rope_scaling(config.model.rope_scaling);
  router.config.force = router::RouterConfig{}.force;
  router.backbone_fingerprint = header.backbone_fingerprint;
  for (auto& [name, values] : read_parameters(path, device, on_slice)) {
    router.tensors[name] = values.dtype() == DType::f32 ? values : ops::cast(values, DType::f32);
  }
  return router;
}

// Nothing of another kind is mixed up with what is written. A folder that is written over has no
// settings meanwhile, so that old ones are never taken for those of new tensors.
void prepare_folder(const std::string& folder, const char* own, const char* other) {
  for (const char* name : {other, SafetensorsFolder::kWeights, SafetensorsFolder::kIndex}) {
    if (exists(folder + "/" + name)) {
      throw UsageError(std::string("the folder already has a ") + name, folder,
                       "name another folder");
    }
  }
  make_folder(folder);
  std::error_code error;
  fs::remove(folder + "/" + own, error);
  if (error) {
    throw UsageError("cannot write to the folder: " + error.message(), folder,
                     "check its permissions");
  }
  sync_folder(folder);
}

void write_files(const std::string& folder, std::map<std::string, Tensor> tensors, DType dtype,
                 const char* json_name, const nlohmann::ordered_json& json) {
  for (auto& entry : tensors) {
    if (entry.second.dtype() != dtype) entry.second = ops::cast(entry.second, dtype);
  }
  write_safetensors(folder + "/" + kRouterFile, tensors, {{"format", "pt"}});
  write_text_atomically(folder + "/" + json_name, json.dump(2) + "\n");
}

}  // namespace

std::string stored_rope_scaling(const model::RopeOverride& rope) {
  return rope.keys ? model::rope_override_text(rope) : "";
}

model::RopeOverride rope_scaling_of(const router::StoredRouter& router, const std::string& where) {
  if (router.rope_scaling.empty()) return {};
  return model::parse_rope_override(router.rope_scaling, where);
}

bool is_exchange_folder(const std::string& path) { return exchange_folder(path).has_value(); }

router::StoredRouter read_router(const std::string& path, parallel::Mesh& mesh, Device& device,
                                 const OnSlice& on_slice) {
  std::optional<std::string> folder;
  std::string checkpoint;
  router::StoredRouter router;
  parallel::on_all_ranks(mesh.world(), [&] {
    folder = exchange_folder(path);
    if (folder) {
      router = read_folder(*folder, device);
    } else {
      checkpoint = resolve_checkpoint(path);
    }
  });
  if (folder) return router;
  const CheckpointHeader header = verify_checkpoint(checkpoint, mesh, on_slice);
  parallel::on_all_ranks(mesh.world(),
                         [&] { router = read_checkpoint(checkpoint, header, device, on_slice); });
  return router;
}

void write_router(const std::string& folder, const router::StoredRouter& router, DType dtype) {
  prepare_folder(folder, kSettings, kConfig);
  write_files(folder, router.tensors, dtype, kSettings, router::settings_json(router));
}

void write_reference_router(const std::string& folder, const router::StoredRouter& router,
                            const std::string& model, bool whole_config, DType dtype,
                            Device& device) {
  const model::ModelConfig m = model::read_model_shapes(model);
  if (m.num_layers != router.layers()) {
    throw InputError("the model has " + plural(m.num_layers, "layer") + ", the router " +
                         std::to_string(router.layers()),
                     model, "use the model it was trained for");
  }
  nlohmann::ordered_json config = nlohmann::ordered_json::object();
  const auto own = nlohmann::ordered_json(read_json(model + "/" + kConfig));
  auto scaled = own;
  model::write_rope(scaled, rope_scaling_of(router, "the router"), model);
  if (whole_config) {
    config = scaled;
  } else {
    // Keys of its own: those of the backbone that its positions change.
    for (const auto& [key, value] : scaled.items()) {
      if (!own.contains(key) || own[key] != value) config[key] = value;
    }
  }
  config.update(router::reference_config(router, m.architecture));
  const auto tensors = router::to_reference(router, m.kv_heads, device);
  prepare_folder(folder, kConfig, kSettings);
  write_files(folder, tensors, dtype, kConfig, config);
}

std::string write_first_checkpoint(const std::string& folder, const router::StoredRouter& router,
                                   const std::string& where, const std::string& model,
                                   parallel::Mesh& mesh, Device& device) {
  Config config;
  config.model.path = model;
  config.router = router.config;
  config.model.rope_scaling = rope_scaling_of(router, where);
  std::unique_ptr<model::ModelFolder> backbone;
  std::unique_ptr<router::LayerRouters> routers;
  std::unique_ptr<router::SparsityObjective> objective;
  ParameterList parameters;
  parallel::on_all_ranks(mesh.world(), [&] {
    require_new_checkpoint_folder(folder);
    if (config.router.reg.enabled && !router.has_multipliers()) {
      throw InputError("the router has no multipliers, and its settings want them", where,
                       "set enable_lambda_task (of router.json: router.reg.enabled) to false");
    }
    backbone = std::make_unique<model::ModelFolder>(model, config.model.rope_scaling);
    const auto seed = uint64_t(config.train.seed);
    const model::ModelConfig& m = backbone->config();
    routers = std::make_unique<router::LayerRouters>(
        config.router,
        router::RoutedModel{m.num_layers, m.head_dim, router::KvHeads::whole(m.kv_heads),
                            data::kTaskCount, /*tensor=*/nullptr},
        DType::f32, seed, /*trainable=*/true, device);
    routers->append_parameters(parameters);
    objective = std::make_unique<router::SparsityObjective>(
        config.router.reg, router::task_targets(config.router.reg, data::kTaskNames), DType::f32,
        seed, /*trainable=*/true, device);
    objective->append_parameters(parameters);
    router::fill_parameters(router, where, parameters);
  });
  const std::string fingerprint = shared_fingerprint(*backbone, mesh);
  parallel::on_all_ranks(mesh.world(), [&] {
    if (router.backbone_fingerprint.empty() || router.backbone_fingerprint == fingerprint) return;
    throw InputError("the router was trained on another backbone", where,
                     "use that one, or remove backbone_fingerprint from its settings");
  });
  return write_checkpoint_of_step_0(folder, config, parameters, fingerprint, mesh);
}

}  // namespace elastron::train
