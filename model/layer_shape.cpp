#include "model/layer_shape.h"

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
  }
  throw LogicError("no such side of a linear");
}

parallel::LinearShape linear_shape(const ModelConfig& config, int64_t layer, LinearId id) {
  const LayerLinear& linear = kLayerLinears[size_t(id)];
  return {.name = in_layer(layer, linear.block) + "." + std::string(linear.leaf),
          .out = extent(config, linear.out),
          .in = extent(config, linear.in),
          .split = linear.split,
          .bias = linear.bias != nullptr && config.*linear.bias};
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
  for (size_t i = 0; i < kLayerLinears.size(); ++i) {
    const auto linear = linear_shape(config, layer, LinearId(i));
    tensors.push_back({linear.weight_name(), {linear.out, linear.in}});
    if (linear.bias) tensors.push_back({linear.bias_name(), {linear.out}});
  }
  for (size_t i = 0; i < kLayerNorms.size(); ++i) {
    if (has_norm(config, NormId(i))) tensors.push_back(norm_shape(config, layer, NormId(i)));
  }
  return tensors;
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
