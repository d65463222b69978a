// A trained router away from its model: its settings and tensors, in our own names and in those of
// the published implementation (docs/method.md, Published names). Files as such are
// train/exchange/router_exchange.h's.
#pragma once
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "core/file/safetensors_folder.h"
#include "core/parameter.h"
#include "router/config.h"

namespace elastron::router {

struct StoredRouter {
  // It was trained with these settings, as far as the file says; `force` is always `none`.
  RouterConfig config;
  std::string backbone_fingerprint;  // empty: the file does not say
  std::string backbone_path;         // model.path of a checkpoint; otherwise empty
  // model.rope_scaling as a configuration writes it; empty: the backbone's own.
  std::string rope_scaling;
  // Whole tensors by logical name, float32 on the CPU: router.layers.<i>.* and, unless the file has
  // none, objective.lambda1 and objective.lambda2.
  std::map<std::string, Tensor> tensors;

  int64_t layers() const;
  bool has_multipliers() const;
};

// Fills value and master of `parameters` (of LayerRouters, of a SparsityObjective), each rank its
// part. The stored router's tensors must be those of the list; its multipliers may be left over.
// One InputError, at `where`, lists all that are missing, unexpected or misshapen.
void fill_parameters(const StoredRouter& router, const std::string& where,
                     const ParameterList& parameters);

// router.json: settings, fingerprint and rope scaling.
nlohmann::ordered_json settings_json(const StoredRouter& router);
// A router.json. -> without tensors. Throws InputError at `where`.
StoredRouter read_settings(const nlohmann::json& object, const std::string& where);

// Adds the tensors of `homes`, which have our names (and nothing else), to `settings`. Floating
// types become float32. `tasks`: the multipliers' length. One InputError, at `where`, lists all
// that are missing, unexpected, misshapen, or not (finite) floating-point numbers.
StoredRouter from_logical(const TensorHomes& homes, StoredRouter settings, int64_t tasks,
                          const std::string& where, Device& device);

}  // namespace elastron::router
