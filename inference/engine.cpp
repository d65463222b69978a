#include "inference/engine.h"

#include "data/document.h"
#include "model/router_batch.h"

namespace elastron::inference {

Engine::Engine(const model::ModelConfig& model, const EngineOptions& options, parallel::Mesh& mesh,
               Device& device)
    : options_(options),
      mesh_(mesh),
      device_(device),
      decoder_(model,
               {.dtype = options.dtype,
                .storage = options.storage,
                .repack = false,
                .max_position = options.max_position},
               mesh.tensor(), device) {
  route_by(router::uniform_gates(model.num_layers, model.kv_heads, 1));
}

Engine::Engine(const model::ModelFolder& folder, const EngineOptions& options, parallel::Mesh& mesh,
               Device& device)
    : Engine(folder.config(), options, mesh, device) {
  folder.load(decoder_.parameters());
}

void Engine::route_by(const router::StoredRouter& trained, const std::string& where) {
  auto routers = std::make_unique<router::LayerRouters>(
      options_.routing,
      router::RoutedModel{model().num_layers, model().head_dim, kv_heads(), data::kTaskCount,
                          &mesh_.tensor()},
      accumulator_dtype(options_.dtype), /*seed=*/0, /*trainable=*/false, device_);
  ParameterList parameters;
  routers->append_parameters(parameters);
  router::fill_parameters(trained, where, parameters);
  routed_ = routers->routed();
  routers_ = std::move(routers);
}

void Engine::route_by(const router::StaticGates& gates) {
  routed_ = router::routed_by_gates(gates, kv_heads(), options_.routing);
  routers_.reset();
}

int64_t Engine::first_kv_head() const { return kv_heads().first; }

int64_t Engine::dense_tiles(int64_t tokens) const {
  return ops::dense_tiles(options_.routing.head_pattern(), model().q_heads / model().kv_heads,
                          tokens, tokens);
}

router::KvHeads Engine::kv_heads() const {
  const int64_t own = model().kv_heads / mesh_.tensor().size();
  return {model().kv_heads, own * mesh_.tensor().rank(), own};
}

CacheShape Engine::cache_shape(int64_t tokens, const CacheOptions& options) const {
  router::RouterConfig rule = options_.routing;
  if (!options.whole_blocks) rule.ssa.block = 1;
  // Heads that read chosen blocks decode with full attention (docs/method.md, Decoding).
  const bool chosen = rule.head_pattern().sparse.kind != ops::KeySetKind::streaming;
  return {.layers = model().num_layers,
          .kv_heads = kv_heads().own,
          .most_tokens = tokens,
          .rule = rule.streaming_rule(),
          .keep_all = options.keep_all || chosen};
}

Tensor Engine::forward(std::span<const int32_t> ids, model::RoutedHeads* heads,
                       model::KvCache* cache) {
  data::Document document;  // all of it is prompt
  document.ids.assign(ids.begin(), ids.end());
  document.user_length = document.length();
  const data::PackedBatch batch = data::make_packed_batch({&document});
  const auto router_batch =
      model::make_router_batch(batch, options_.routing, 0, 1.0, /*sample=*/false);
  return decoder_.forward(model::DeviceBatch::make(batch, device_), router_batch, routed_,
                          {.heads = heads, .cache = cache});
}

Tensor Engine::decode(const Tensor& ids, const Tensor& positions, const model::KvBatch& sequences) {
  return decoder_.decode(ids, positions, sequences);
}

}  // namespace elastron::inference
