#include "router/layer_routers.h"

namespace elastron::router {

LayerRouters::LayerRouters(const RouterConfig& config, const RoutedModel& model, DType dtype,
                           uint64_t seed, bool trainable, Device& device)
    : config_(config), heads_(model.heads), tensor_(model.tensor), seed_(seed) {
  for (int64_t layer = 0; layer < model.layers; ++layer) {
    if (config.kind == Kind::static_l0) {
      masks_.push_back(
          std::make_unique<StaticMask>(layer, model.heads, config.l0, dtype, trainable, device));
    } else {
      routers_.push_back(std::make_unique<AttentionRouter>(layer, model.head_dim, model.tasks,
                                                           config, dtype, seed, trainable, device));
    }
  }
}

void LayerRouters::append_parameters(ParameterList& list) {
  for (const auto& router : routers_) router->append_parameters(list);
  for (const auto& mask : masks_) mask->append_parameters(list);
}

std::vector<RoutedLayer> LayerRouters::routed() {
  std::vector<RoutedLayer> layers;
  for (const auto& router : routers_) {
    layers.emplace_back(int64_t(layers.size()), heads_.first, config_, seed_, *router,
                        LayerHeads{heads_.own, tensor_});
  }
  for (const auto& mask : masks_) {
    layers.emplace_back(int64_t(layers.size()), heads_.first, config_, seed_, *mask);
  }
  return layers;
}

std::vector<RoutedLayer> routed_by_gates(const StaticGates& gates, const KvHeads& heads,
                                         const RouterConfig& config) {
  std::vector<RoutedLayer> layers;
  for (const auto& layer : gates) {
    const auto first = layer.begin() + heads.first;
    layers.emplace_back(int64_t(layers.size()), heads.first, config,
                        std::vector<uint8_t>(first, first + heads.own));
  }
  return layers;
}

}  // namespace elastron::router
