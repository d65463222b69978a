// A trained router away from its model, and its names in the published implementation's checkpoints
// (spec 11.1). Between tensors and names only: files are train/router_exchange.h's.
#pragma once
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "core/file/safetensors.h"
#include "core/parameter.h"
#include "router/config.h"

namespace elastron::router {

struct StoredRouter {
  // What it was trained with, as far as the file says; `force` is always `none`.
  RouterConfig config;
  std::string backbone_fingerprint;  // empty: the file does not say
  // Whole tensors by logical name, float32 on the CPU: router.layers.<i>.* and, unless the file has
  // none, objective.lambda1 and objective.lambda2.
  std::map<std::string, Tensor> tensors;

  int64_t layers() const;
  int64_t head_dim() const;
};

// Fills value and master of `parameters` (of an AttentionRouter or a SparsityObjective). Router
// tensors must be those of the list exactly; multipliers may be left over. One InputError, with
// `where`, lists all that are missing, unexpected or misshapen.
void fill_parameters(const StoredRouter& router, const std::string& where,
                     const ParameterList& parameters);

// router.json, and the key "elastron_router" of a reference config.json: settings and fingerprint.
nlohmann::ordered_json settings_json(const StoredRouter& router);
// Fills config and fingerprint. Throws InputError.
void read_settings(const nlohmann::json& object, const std::string& where, StoredRouter& router);

// Our own names: checks that `router`'s tensors are those of a router (InputError otherwise).
StoredRouter from_logical(const SafetensorsFile& file, const nlohmann::json& settings,
                          const std::string& settings_path, Device& device);

// To the published implementation's names: everything its module and model have for routing, with
// what it holds but never reads (two zero multipliers, gates of 4.0, log_temp 0.0).
// kv_heads: of the backbone.
std::map<std::string, Tensor> to_reference(const StoredRouter& router, int64_t kv_heads,
                                           Device& device);
// The keys its config.json needs. `backbone`: of the backbone ("Qwen3ForCausalLM").
nlohmann::ordered_json reference_config(const StoredRouter& router, const std::string& backbone);
// What it would do otherwise than the configuration says, a line each.
std::vector<std::string> reference_differences(const RouterConfig& config);

// Where a tensor lies: by its name in the file.
using TensorHomes = std::map<std::string, const SafetensorsFile*>;
// Whether a tensor of the published implementation belongs to routing.
bool is_reference_name(const std::string& name);
// From its names (float32, bfloat16, float16) and config.json. Backbone tensors, legacy gates,
// log_temp and the unused multipliers are passed over. One InputError lists all that are missing,
// unexpected, misshapen or no floating-point numbers.
StoredRouter from_reference(const TensorHomes& tensors, const nlohmann::json& config,
                            const std::string& config_path, const std::string& where,
                            Device& device);

}  // namespace elastron::router
