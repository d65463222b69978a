// A model folder opened for forward passes only: what `logits` and `generate` run on.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/document.h"
#include "launch/runtime.h"
#include "model/decoder.h"
#include "router/exchange.h"
#include "router/layer_routers.h"

namespace elastron::launch::cli {
class App;
}

namespace elastron::launch {

struct InferenceArguments {
  std::string model;                   // Hugging Face model folder
  std::string router;                  // a trained router; empty: none
  std::string force = "none";          // router.force; without a router "none" is full attention
  std::string dtype = "auto";          // auto: the folder's
  int tensor = 0;                      // ranks that split the weights; 0: as many as can
  std::vector<std::string> overrides;  // router.*, model.beyond_positions
  // What the user can do where sequences reach beyond the model's positions.
  std::string shorter = "give shorter sequences";

  void add_to(cli::App& command);
};

class Inference {
 public:
  // Collective. `max_position`: tokens of the longest sequence.
  Inference(parallel::World& world, const InferenceArguments& arguments, int64_t max_position);

  model::Decoder& decoder() { return *decoder_; }
  Runtime& runtime() { return *runtime_; }
  parallel::Mesh& mesh() { return runtime_->mesh(); }
  const router::RouterConfig& router_config() const { return config_.router; }
  std::vector<router::RoutedLayer>& routed() { return routed_; }
  // First of this rank's kv heads.
  int64_t first_kv_head() const;

 private:
  void load(const InferenceArguments& arguments, int64_t max_position,
            const std::optional<router::StoredRouter>& stored);

  train::Config config_;
  std::unique_ptr<Runtime> runtime_;
  std::unique_ptr<model::Decoder> decoder_;
  std::unique_ptr<router::LayerRouters> routers_;
  std::vector<router::RoutedLayer> routed_;
};

// A document that is all prompt.
data::Document prompt_document(std::vector<int32_t> ids);

}  // namespace elastron::launch
