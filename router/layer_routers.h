// Deciders of all layers that have parameters of their own: an AttentionRouter per layer, or
// a StaticMask, as router.kind says.
#pragma once
#include <memory>
#include <vector>

#include "router/routed_layer.h"

namespace elastron::router {

// They need to know this of the model.
struct RoutedModel {
  int64_t layers = 0, head_dim = 0;
  KvHeads heads;
  int64_t tasks = 0;  // rows of a task embedding
  // Who has the other heads, where a layer decides as one; null: nobody. Must outlive the routers.
  parallel::Communicator* tensor = nullptr;
};

class LayerRouters {
 public:
  // dtype, seed, trainable: as of AttentionRouter and StaticMask.
  LayerRouters(const RouterConfig& config, const RoutedModel& model, DType dtype, uint64_t seed,
               bool trainable, Device& device);

  void append_parameters(ParameterList& list);
  // One per layer; this must outlive them. Noise is named by the seed that was given.
  std::vector<RoutedLayer> routed();

 private:
  RouterConfig config_;
  KvHeads heads_;
  parallel::Communicator* tensor_;
  uint64_t seed_;
  // One of the two.
  std::vector<std::unique_ptr<AttentionRouter>> routers_;
  std::vector<std::unique_ptr<StaticMask>> masks_;
};

// The same gates for every document, each rank its own heads of them.
std::vector<RoutedLayer> routed_by_gates(const StaticGates& gates, const KvHeads& heads,
                                         const RouterConfig& config);

}  // namespace elastron::router
