#include "router/reference_exchange.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "ops/elementwise.h"
#include "router/static_mask.h"
#include "router/stored_tensors.h"

namespace elastron::router {

namespace {

constexpr const char* kSettings = "elastron_router";
constexpr const char* kStreaming = "streaming";
constexpr const char* kFull = "full";
constexpr int64_t kReferenceBlock = 128;  // of its kernels, everywhere
// Tokens that are pooled at each end: fixed in Elastic Attention's code; that of Flux Attention has a
// key with the same default.
constexpr int64_t kPooled = 100;
constexpr const char* kPoolSize = "pool_size";
constexpr float kLegacyGate = 4.0f;

const RouterNaming& reference_naming() {
  static const RouterNaming naming = [] {
    RouterNaming n{.prefix = "model.layers.",
                   .infix = ".self_attn.mask_allocator.",
                   .leaves = {},
                   .lambda1 = "model.sparsity_lambda1_task",
                   .lambda2 = "model.sparsity_lambda2_task",
                   .others_allowed = true,
                   .reference_shapes = true};
    for (const auto& [ours, same] : logical_naming().leaves) {
      if (ours == StaticMask::kLeaf) continue;
      std::string theirs = ours;
      if (ours.starts_with("task.")) theirs = "cls_feat_extractor." + ours.substr(5);
      if (ours.starts_with("router.")) theirs = "cls_router_head_agnostic." + ours.substr(7);
      if (ours == "log_tau") theirs = "log_temp";
      n.leaves.emplace_back(ours, theirs);
    }
    return n;
  }();
  return naming;
}

// Static masks, of PruLong and of this implementation.
const RouterNaming& reference_mask_naming() {
  static const RouterNaming naming{.prefix = "model.layers.",
                                   .infix = ".self_attn.attn_mask_",
                                   .leaves = {{StaticMask::kLeaf, "log_alphas"}},
                                   .lambda1 = reference_naming().lambda1,
                                   .lambda2 = reference_naming().lambda2,
                                   .others_allowed = true};
  return naming;
}

Tensor constant(const Shape& shape, float value, Device& device) {
  return Tensor::from(std::vector<float>(size_t(shape.numel()), value), shape, device);
}

// Reads keys of a config.json; one that is missing has its class's default.
class Keys {
 public:
  Keys(const nlohmann::json& object, const std::string& where) : object_(object), where_(where) {
    if (!object.is_object()) fail("the file is not a JSON object", "use a config.json");
  }
  [[noreturn]] void fail(const std::string& what, const std::string& todo) const {
    throw InputError(what, where_, todo);
  }
  bool has(const char* key) const { return object_.contains(key); }
  std::string text(const char* key, const char* missing) const {
    if (!has(key)) {
      if (missing != nullptr) return missing;
      fail(std::string("'") + key + "' is missing", "add it: its default is not known here");
    }
    if (!object_[key].is_string()) fail(std::string("'") + key + "' is not a text", "correct it");
    return object_[key].get<std::string>();
  }
  bool truth(const char* key, bool missing) const {
    if (!has(key)) return missing;
    if (!object_[key].is_boolean()) {
      fail(std::string("'") + key + "' is not true or false", "correct it");
    }
    return object_[key].get<bool>();
  }
  int64_t tokens(const char* key, int64_t least, int64_t missing) const {
    if (!has(key)) return missing;
    const auto& value = object_[key];
    constexpr int64_t kMost = int64_t(1) << 31;
    if (!value.is_number_integer() || value.get<int64_t>() < least ||
        value.get<int64_t>() > kMost) {
      fail(std::string("'") + key + "' is not a number of tokens", "correct it");
    }
    return value.get<int64_t>();
  }

 private:
  const nlohmann::json& object_;
  const std::string& where_;
};

// Whether there are masks, and no routers beside them that would make them a thing of the past. A
// model that says it has routers has legacy gates too: without its routers it is incomplete.
bool has_masks_only(const TensorHomes& homes, const Keys& keys) {
  if (keys.truth("enable_ada_sparsity", false)) return false;
  bool masks = false;
  for (const auto& [name, file] : homes) {
    if (reference_naming().place(name)) return false;
    masks = masks || reference_mask_naming().place(name).has_value();
  }
  return masks;
}

PoolSegmentKind segment_named(const std::string& name, const Keys& keys) {
  for (const auto& [value, word] : config::EnumNames<PoolSegmentKind>::names) {
    if (word == name) return value;
  }
  keys.fail("pooling_mode '" + name.substr(0, 40) + "' is not supported",
            "use first_token, q or ctx_q");
}

// PruLong's classes have defaults for both.
void require_full_and_streaming(const Keys& keys, bool masks) {
  const std::string retrieval = keys.text("retrieval_mode", masks ? kFull : nullptr);
  const std::string toggle = keys.text("toggle_type", masks ? kStreaming : nullptr);
  if (retrieval != kFull || toggle != kStreaming) {
    keys.fail("retrieval_mode '" + retrieval.substr(0, 40) + "' with toggle_type '" +
                  toggle.substr(0, 40) + "' is not supported",
              "use a router between full and streaming attention");
  }
  if (!masks && !keys.truth("enable_ada_sparsity", false)) {
    keys.fail("'enable_ada_sparsity' is not true: the model does not use its routers",
              "use a model with routers, or set the key if this is one");
  }
}

// The settings that its keys say.
RouterConfig config_of(const Keys& keys) {
  RouterConfig config;
  config.ssa = {.sink = keys.tokens("sink_size", 0, 128),
                .local = keys.tokens("local_window_size", 1, 1024),
                .block = kReferenceBlock};
  config.pool_segment = segment_named(keys.text("pooling_mode", "first_token"), keys);
  config.reg.enabled = keys.truth("enable_lambda_task", false);
  return config;
}

// Networks of the two published programs (docs/method.md, Routing by layer): their tensors have the
// same names, and the widths tell them apart.
bool has_flux_network(const RouterConfig& c) {
  const RouterConfig flux = RouterConfig::of(Preset::flux);
  return c.task_widths == flux.task_widths && c.widths == flux.widths;
}
bool has_elastic_network(const RouterConfig& c) {
  return c.task_widths == c.widths && c.widths[1] == 1;
}

// What tensors without settings of ours were trained as.
void settle_network(RouterConfig& config, const Keys& keys, const std::string& where) {
  if (has_elastic_network(config)) return;
  if (!has_flux_network(config)) {
    throw InputError("the routers' widths are neither Elastic Attention's nor Flux Attention's",
                     where, "use a model of one of them");
  }
  const RouterConfig flux = RouterConfig::of(Preset::flux);
  config.preset = flux.preset;
  config.granularity = flux.granularity;
  config.input = flux.input;
  config.init = flux.init;
  config.reg.t_sen = flux.reg.t_sen;
  config.reg.t_rob = flux.reg.t_rob;
  config.pool_budget = keys.tokens(kPoolSize, 1, kPooled);
}

// Lines on what is decided, and from what.
void add_network_differences(const RouterConfig& c, std::vector<std::string>& lines) {
  const bool by_layer = c.by_layer();
  if (!(by_layer ? has_flux_network(c) : has_elastic_network(c))) {
    lines.push_back(by_layer ? "its routers of a layer have task_widths [8, 2] and widths [4, 1]: "
                               "it does not take these tensors"
                             : "its routers of heads have task_widths and widths [m, 1]: it does "
                               "not take these tensors");
  }
  if ((c.input == RouterInput::query) != by_layer) {
    lines.push_back(by_layer ? "its routers of a layer read queries"
                             : "its routers of heads read keys");
  }
  if (c.pool != Pool::boundary || c.pool_dedup || (!by_layer && c.pool_budget != kPooled)) {
    lines.push_back("it pools the first and last " +
                    std::to_string(by_layer ? c.pool_budget : kPooled) + " tokens of the prompt");
  }
}

}  // namespace

std::map<std::string, Tensor> to_reference(const StoredRouter& router, int64_t kv_heads,
                                           Device& device) {
  const bool masks = router.config.kind == Kind::static_l0;
  const RouterNaming& theirs = masks ? reference_mask_naming() : reference_naming();
  std::map<std::string, Tensor> out;
  for (const auto& [name, tensor] : router.tensors) {
    const auto place = logical_naming().place(name);
    if (!place) continue;
    Tensor value = tensor;
    // Its embedding has no row for the last task.
    if (place->leaf == "task_embedding.weight") value = value.slice(0, 0, value.size(0) - 1);
    if (place->leaf == "log_tau") value = value.view(Shape{});
    out[theirs.stored(place->layer, place->leaf)] = value;
  }
  for (int64_t layer = 0; layer < (masks ? 0 : router.layers()); ++layer) {
    const std::string attention = theirs.prefix + std::to_string(layer) + ".self_attn.";
    out[attention + "attn_mask_log_alphas"] = constant({kv_heads}, kLegacyGate, device);
    out.emplace(theirs.stored(layer, "log_tau"), constant(Shape{}, 0.0f, device));
  }
  const auto multiplier = [&](const std::string& ours, const std::string& name) {
    const auto it = router.tensors.find(ours);
    // Without multipliers in training its model has them, and reads them as little.
    out[name] = it != router.tensors.end() ? it->second : constant({5}, 0.0f, device);
  };
  multiplier(logical_naming().lambda1, theirs.lambda1);
  multiplier(logical_naming().lambda2, theirs.lambda2);
  out["model.sparsity_lambda_1"] = constant({1}, 0.0f, device);
  out["model.sparsity_lambda_2"] = constant({1}, 0.0f, device);
  return out;
}

nlohmann::ordered_json reference_config(const StoredRouter& router, const std::string& backbone) {
  const RouterConfig& c = router.config;
  nlohmann::ordered_json keys = {
      {"architectures", nlohmann::ordered_json::array({"Paw" + backbone})},
      {"toggle_type", kStreaming},
      {"retrieval_mode", kFull},
      {"sink_size", c.ssa.sink},
      {"local_window_size", c.ssa.local},
      {"pooling_mode", config::enum_name(c.pool_segment)},
      {"use_softmax", c.kind == Kind::softmax},
      {"enable_ada_sparsity", c.kind != Kind::static_l0},
      {"enable_lambda_task", c.reg.enabled}};
  if (c.by_layer()) keys[kPoolSize] = c.pool_budget;
  keys[kSettings] = settings_json(router);
  return keys;
}

std::vector<std::string> reference_differences(const RouterConfig& c) {
  std::vector<std::string> lines;
  const auto rounded = [](int64_t tokens) {
    return (tokens + kReferenceBlock - 1) / kReferenceBlock * kReferenceBlock;
  };
  if (c.ssa.block != kReferenceBlock) {
    lines.push_back("its blocks have 128 tokens, router.ssa.block is " +
                    std::to_string(c.ssa.block) + ": its sparse heads see sink " +
                    std::to_string(rounded(c.ssa.sink)) + " and local " +
                    std::to_string(rounded(c.ssa.local)));
  }
  if (c.kind == Kind::static_l0) {
    lines.push_back(
        "it mixes the outputs of both branches by the clamped value, and makes as many of "
        "a layer's gates 0 as it expects of the distribution");
    return lines;
  }
  add_network_differences(c, lines);
  if (c.pool_segment == PoolSegmentKind::ctx || c.pool_segment == PoolSegmentKind::a) {
    lines.push_back("it knows no pooling_mode " + std::string(config::enum_name(c.pool_segment)));
  }
  if (c.kind == Kind::sigmoid) lines.push_back("with one output it decides with noise");
  if (c.task_embedding) lines.push_back("its task embedding has no row for the last task");
  return lines;
}

StoredRouter from_reference(const TensorHomes& homes, const nlohmann::json& config,
                            const std::string& config_path, int64_t tasks, const std::string& where,
                            Device& device) {
  const Keys keys(config, config_path);
  const bool masks = has_masks_only(homes, keys);
  require_full_and_streaming(keys, masks);
  StoredRouter router;
  if (keys.has(kSettings)) {
    router = read_settings(config[kSettings], config_path + ", " + kSettings);
    const RouterConfig said = config_of(keys);
    const RouterConfig& own = router.config;
    if (said.ssa.sink != own.ssa.sink || said.ssa.local != own.ssa.local ||
        said.pool_segment != own.pool_segment || said.reg.enabled != own.reg.enabled ||
        (own.by_layer() && keys.tokens(kPoolSize, 1, kPooled) != own.pool_budget)) {
      keys.fail("elastron_router and the other keys contradict each other",
                "remove elastron_router if the others were changed on purpose");
    }
  } else {
    router.config = config_of(keys);
    router.config.task_embedding = has_leaf(homes, reference_naming(), "task_embedding.weight");
  }
  const RouterConfig said = router.config;
  read_stored_tensors(homes, masks ? reference_mask_naming() : reference_naming(), tasks, where,
                      router, device);
  if (!masks && !keys.has(kSettings)) settle_network(router.config, keys, where);
  const bool softmax = router.config.kind == Kind::softmax;
  if (!masks && softmax != keys.truth("use_softmax", false)) {
    keys.fail(std::string("use_softmax is ") + (softmax ? "not true" : "true") +
                  ", the routers have " + (softmax ? "two outputs" : "one"),
              "use config.json and weights of one model");
  }
  if (keys.has(kSettings) && !same_network(said, router.config)) {
    keys.fail("elastron_router is not that of these tensors",
              "use config.json and weights of one export");
  }
  return router;
}

}  // namespace elastron::router
