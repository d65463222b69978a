// Routers of the published implementations, Elastic Attention's and Flux Attention's, which have the
// same names: their parameter names and configuration keys
// (docs/method.md, Published names).
//
// Layer i has, below model.layers.<i>.self_attn.mask_allocator: cls_feat_extractor, the task MLP,
// and cls_router_head_agnostic, the router MLP. The model has model.sparsity_lambda1_task and _lambda2_.
// Static masks (kind static-l0), PruLong's too: model.layers.<i>.self_attn.attn_mask_log_alphas.
#pragma once
#include "router/exchange.h"

namespace elastron::router {

// Everything its model has for routing, with what it holds but never reads: two zero multipliers,
// gates of 4.0 (one per kv head of the backbone), log_temp 0.0. Only a router that learned its
// temperature has its own value there. Of static masks the gates, and no routers.
std::map<std::string, Tensor> to_reference(const StoredRouter& router, int64_t kv_heads,
                                           Device& device);

// The keys its config.json needs, written out because its defaults are other ones, and
// "elastron_router": our settings_json. `backbone`: architecture, such as "Qwen3ForCausalLM".
nlohmann::ordered_json reference_config(const StoredRouter& router, const std::string& backbone);

// Says, a line each, what its code does in another way than the configuration.
std::vector<std::string> reference_differences(const RouterConfig& config);

// From its names, in float32, bfloat16 or float16, and its config.json (at `config_path`). Gates
// without any router beside them, of a model that is not said to have some, are static masks.
// Backbone tensors, legacy gates, unused multipliers, and log_temp unless it was learned, are
// passed over. The number of classes and the widths follow from the shapes, and from the widths
// whose router it is; a missing key is its
// class's default, and elastron_router, where present, says the rest. `tasks`: rows of our task
// embedding; its has one less, and the last row becomes zero. Throws InputError as from_logical
// does, in its names.
StoredRouter from_reference(const TensorHomes& homes, const nlohmann::json& config,
                            const std::string& config_path, int64_t tasks, const std::string& where,
                            Device& device);

}  // namespace elastron::router
