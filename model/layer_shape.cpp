#include "model/layer_shape.h"

#include "core/error.h"
#include "model/lora.h"

namespace elastron::model {

namespace {

std::string in_layer(int64_t layer, std::string_view path) {
  return "model.layers." + std::to_string(layer) + "." + std::string(path);
}

}  // namespace

int64_t extent(const ModelConfig& config, Side side) {
  switch (side) {
    case Side::hidden: return config.hidden_size;
    case Side::queries: return config.q_heads * config.head_dim;
    case Side::keys: return config.kv_heads * config.head_dim;
    case Side::intermediate: return config.intermediate_size;
    case Side::head: return config.head_dim;
    case Side::expert: return config.experts.value().width;
    case Side::experts: return config.experts.value().count;
  }
  throw LogicError("no such side of a linear");
}

namespace {

// `block`: where it stands in the layer.
parallel::LinearShape shape_of(const ModelConfig& config, int64_t layer, const std::string& block,
                               const LayerLinear& linear) {
  return {.name = in_layer(layer, block) + "." + std::string(linear.leaf),
          .out = extent(config, linear.out),
          .in = extent(config, linear.in),
          .split = linear.split,
          .bias = linear.bias != nullptr && config.*linear.bias};
}

}  // namespace

parallel::LinearShape linear_shape(const ModelConfig& config, int64_t layer, LinearId id) {
  const LayerLinear& linear = kLayerLinears[size_t(id)];
  return shape_of(config, layer, std::string(linear.block), linear);
}

parallel::LinearShape expert_shape(const ModelConfig& config, int64_t layer, int64_t expert,
                                   ExpertLinearId id) {
  const LayerLinear& linear = kExpertLinears[size_t(id)];
  return shape_of(config, layer, std::string(linear.block) + "." + std::to_string(expert), linear);
}

NamedShape expert_gate_shape(const ModelConfig& config, int64_t layer) {
  return {in_layer(layer, "mlp.gate.weight"),
          {extent(config, Side::experts), extent(config, Side::hidden)}};
}

bool has_linear(const ModelConfig& config, int64_t layer, LinearId id) {
  return !is_mlp(id) || !config.has_experts(layer);
}

bool has_norm(const ModelConfig& config, NormId id) {
  const LayerNorm& norm = kLayerNorms[size_t(id)];
  return norm.present == nullptr || config.*norm.present;
}

NamedShape norm_shape(const ModelConfig& config, int64_t layer, NormId id) {
  const LayerNorm& norm = kLayerNorms[size_t(id)];
  return {in_layer(layer, norm.path) + ".weight", {extent(config, norm.size)}};
}

std::vector<NamedShape> layer_tensors(const ModelConfig& config, int64_t layer) {
  std::vector<NamedShape> tensors;
  const auto add = [&](const parallel::LinearShape& linear) {
    tensors.push_back({linear.weight_name(), {linear.out, linear.in}});
    if (linear.bias) tensors.push_back({linear.bias_name(), {linear.out}});
  };
  for (size_t i = 0; i < kLayerLinears.size(); ++i) {
    if (has_linear(config, layer, LinearId(i))) add(linear_shape(config, layer, LinearId(i)));
  }
  if (config.has_experts(layer)) {
    tensors.push_back(expert_gate_shape(config, layer));
    for (int64_t e = 0; e < config.experts->count; ++e) {
      for (size_t i = 0; i < kExpertLinears.size(); ++i) {
        add(expert_shape(config, layer, e, ExpertLinearId(i)));
      }
    }
  }
  for (size_t i = 0; i < kLayerNorms.size(); ++i) {
    if (has_norm(config, NormId(i))) tensors.push_back(norm_shape(config, layer, NormId(i)));
  }
  return tensors;
}

void check_adapters(const ModelConfig& config, const LoraConfig& lora) {
  if (!config.experts) return;
  std::string others;
  for (size_t i = 0; i < kLayerLinears.size(); ++i) {
    if (!is_mlp(LinearId(i))) others += (others.empty() ? "" : ", ") + std::string(kLinearNames[i]);
  }
  for (size_t i = 0; i < kLayerLinears.size(); ++i) {
    if (!is_mlp(LinearId(i)) || !lora.adapts(kLinearNames[i])) continue;
    throw UsageError("adapters of '" + std::string(kLinearNames[i]) +
                         "' (train.lora.targets): the MLPs of a " + config.architecture +
                         " are experts, which have none",
                     "model", "name linears of the attention: [" + others + "]");
  }
}

std::string linear_names() {
  std::string text;
  for (size_t i = 0; i < kLinearNames.size(); ++i) {
    if (i > 0) text += i + 1 < kLinearNames.size() ? ", " : " and ";
    text += kLinearNames[i];
  }
  return text;
}

}  // namespace elastron::model
