#include "launch/opened_engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "launch/command_line.h"
#include "model/weights/model_folder.h"
#include "parallel/agree.h"
#include "train/exchange/router_exchange.h"
#include "train/positions.h"

namespace elastron::launch {

void EngineArguments::add_to(cli::App& command, bool needed) {
  auto* folder = command.add_option("--model", model, "Hugging Face model folder");
  if (needed) folder->required();
  command.add_option("--router", router,
                     "trained router: a checkpoint, or what export made of one; without it every "
                     "head attends fully");
  command.add_option(
      "--force", force,
      "gates in place of the router's: full | sparse | static:FILE | scores:FILE:MSR | "
      "random:MSR:SEED | none");
  command.add_option("--dtype", dtype, "auto (the folder's), float32, bfloat16 or float64")
      ->check(cli::IsMember({"auto", "float32", "bfloat16", "float64"}));
  command
      .add_option("--tensor", tensor,
                  "ranks that split the weights; 0: as many as the heads allow, the others "
                  "take sequences of their own")
      ->check(cli::NonNegativeNumber);
  command
      .add_option("--context", context,
                  "ranks that split the rows of a long prompt, and the cache; default 1")
      ->check(cli::PositiveNumber);
  command
      .add_option("--set", overrides,
                  "set a key of the router: --set router.ssa.local=256; or of the device, "
                  "model.storage, model.rope_scaling or model.beyond_positions")
      ->allow_extra_args(false);
}

namespace {

// The most ranks that can split this model.
int widest_tensor_group(const model::ModelConfig& m, int ranks) {
  int widest = 1;
  for (int n = 2; n <= ranks; ++n) {
    if (ranks % n == 0 && m.kv_heads % n == 0 && m.mlps_divide_over(n)) widest = n;
  }
  return widest;
}

train::ComputeDType compute_dtype(const std::string& name, const model::ModelConfig& m) {
  using train::ComputeDType;
  if (name == "float32") return ComputeDType::float32;
  if (name == "bfloat16") return ComputeDType::bfloat16;
  if (name == "float64") return ComputeDType::float64;
  return m.dtype == DType::bf16 ? ComputeDType::bfloat16 : ComputeDType::float32;
}

// The settings that the router was trained with come first, then those of the command line.
train::Config as_trained(const router::StoredRouter& stored, const std::string& where,
                         train::Config config, const std::vector<std::string>& overrides) {
  config.router = stored.config;
  config.model.rope_scaling = train::rope_scaling_of(stored, where);
  config::Origins origins;
  config::Problems problems;
  const auto table = config::table_of(config);
  for (const auto& o : overrides) config::apply_override(table, o, origins, problems);
  config::run_checks(table, origins, problems);
  problems.raise();
  return config;
}

// Keys that a run is configured with, and that make sense where only a forward pass is asked for.
void check_overrides(const std::vector<std::string>& overrides) {
  for (const std::string& assignment : overrides) {
    const auto sets = [&](std::string_view key) { return assignment.starts_with(key); };
    if (sets("router.preset=") || sets("router.hidden_mult=")) {
      throw UsageError("'" + assignment + "' gives defaults to a router that is to be trained",
                       "--set", "set the keys themselves here, such as router.granularity");
    }
    if (sets("router.") || sets("device=") || sets("device.") || sets("model.beyond_positions=") ||
        sets("model.storage=") || sets("model.rope_scaling=") || sets("model.rope_scaling.")) {
      continue;
    }
    throw UsageError("'" + assignment + "' sets no key of the router", "--set",
                     "set router.*, device.*, model.storage, model.rope_scaling or "
                     "model.beyond_positions here");
  }
}

}  // namespace

int64_t cache_bytes(double gb) { return int64_t(std::ceil(gb * 1e9)); }

void check_cache(const inference::Engine& engine, const inference::SchedulerOptions& options,
                 int64_t tokens, const std::string& what, const std::string& option) {
  if (options.cache_bytes == 0) return;
  const int64_t needed = inference::Scheduler::most_cache_bytes(engine, options, tokens);
  if (needed <= options.cache_bytes) return;
  throw UsageError(fmt::format("{} of {} tokens may need {:.6f} GB of cache, of {:.6f}", what,
                               tokens, double(needed) * 1e-9, double(options.cache_bytes) * 1e-9),
                   option, "give at least that much, or 0 for no limit");
}

OpenedEngine::OpenedEngine(parallel::World& world, const EngineArguments& arguments,
                           int64_t max_position)
    : arguments_(arguments), max_position_(max_position) {
  auto everyone = world.split(0, world.rank(), "world");
  ConfigArguments settings{.files = {}, .overrides = {"model.path=" + arguments.model}};
  settings.overrides.insert(settings.overrides.end(), arguments.overrides.begin(),
                            arguments.overrides.end());
  parallel::on_all_ranks(*everyone, [&] { check_overrides(arguments.overrides); });
  train::Config& config = config_;
  config = load_run_config(settings, *everyone);
  parallel::on_all_ranks(*everyone, [&] {
    const auto m = model::read_model_shapes(arguments.model);
    config.model.dtype = compute_dtype(arguments.dtype, m);
    config.parallel.context = arguments.context;
    config.parallel.tensor = arguments.tensor > 0
                                 ? arguments.tensor
                                 : widest_tensor_group(m, world.size() / arguments.context);
  });
  runtime_ = std::make_unique<Runtime>(world, config);
  parallel::Mesh& mesh = runtime_->mesh();
  if (!arguments.router.empty()) {
    stored_ = train::read_router(arguments.router, mesh, runtime_->device());
  }
  parallel::on_all_ranks(*everyone, [&] {
    if (stored_) config = as_trained(*stored_, arguments.router, config, arguments.overrides);
    train::check_positions(config.model.beyond_positions,
                           model::read_model_config(arguments.model, config.model.rope_scaling),
                           "the longest sequence", max_position, arguments.shorter,
                           /*trains=*/false);
  });
  runtime_->check_kernels(config, /*trains=*/false);
  parallel::on_all_ranks(*everyone,
                         [&] { engine_ = engine_that_keeps(config.model.storage_dtype()); });
}

router::StaticGates OpenedEngine::forced(const std::string& gates) const {
  const auto& m = engine_->model();
  auto forced = router::parse_force(gates, m.num_layers, m.kv_heads, config_.router.granularity);
  ELASTRON_CHECK(forced.active, "gates that a router does not decide");
  return std::move(forced.gates);
}

void OpenedEngine::force(const std::string& gates) {
  parallel::on_all_ranks(runtime_->mesh().world(), [&] { engine_->route_by(forced(gates)); });
}

void OpenedEngine::check_force(const std::string& gates) const {
  parallel::on_all_ranks(runtime_->mesh().world(), [&] { static_cast<void>(forced(gates)); });
}

std::unique_ptr<inference::Engine> OpenedEngine::engine_that_keeps(std::optional<DType> storage) {
  auto engine = std::make_unique<inference::Engine>(
      model::ModelFolder(arguments_.model, config_.model.rope_scaling),
      inference::EngineOptions{.dtype = config_.model.compute_dtype(),
                               .storage = storage,
                               .max_position = max_position_,
                               .routing = config_.router},
      runtime_->mesh(), runtime_->device());
  const auto& m = engine->model();
  const auto forced =
      router::parse_force(arguments_.force, m.num_layers, m.kv_heads, config_.router.granularity);
  if (forced.active) {
    engine->route_by(forced.gates);
  } else if (stored_) {
    engine->route_by(*stored_, arguments_.router);
  }
  return engine;
}

}  // namespace elastron::launch
