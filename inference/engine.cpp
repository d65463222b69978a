#include "inference/engine.h"

#include <algorithm>
#include <optional>

#include "data/document.h"
#include "inference/cache_of_ranks.h"
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

parallel::Communicator* Engine::heads_over() const {
  parallel::Communicator& context = mesh_.context();
  return context.size() > 1 && kv_heads().own % context.size() == 0 ? &context : nullptr;
}

int64_t Engine::context_block() const {
  return data::context_block(options_.routing.head_pattern().block());
}

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
  const parallel::Communicator* ranks = heads_over();
  return {.layers = model().num_layers,
          .kv_heads = kv_heads().own / (ranks != nullptr ? ranks->size() : 1),
          .most_tokens = tokens,
          .rule = rule.streaming_rule(),
          .keep_all = options.keep_all || chosen};
}

// A prompt that has too few blocks for one of the ranks is read by all of them.
bool Engine::shares_rows(const data::PackedBatch& prompt) const {
  const int ranks = mesh_.context().size();
  if (ranks == 1) return false;
  const auto plan = data::plan_context(prompt.cu_seqlens, ranks, context_block());
  return std::ranges::none_of(plan.pieces, [](const auto& pieces) { return pieces.empty(); });
}

HiddenRows Engine::forward(std::span<const int32_t> ids, model::RoutedHeads* heads,
                           model::KvCache* cache) {
  data::Document document;  // all of it is prompt
  document.ids.assign(ids.begin(), ids.end());
  document.user_length = document.length();
  const data::PackedBatch prompt = data::make_packed_batch({&document});
  parallel::Communicator& context = mesh_.context();
  const bool shared = shares_rows(prompt);
  const model::LocalBatch local(
      prompt, model::make_router_batch(prompt, options_.routing, 0, 1.0, /*sample=*/false),
      {.block = context_block(), .pool = options_.routing.pool_rule()}, shared ? context : alone_,
      device_);
  std::optional<CacheOfRanks> of_ranks;
  if (cache != nullptr && context.size() > 1) {
    cache = &of_ranks.emplace(*cache, local, context, heads_over(), device_);
  }
  Tensor hidden =
      decoder_.forward(local.device(), local.router(), routed_, {.heads = heads, .cache = cache});
  if (shared) return {std::move(hidden), model::own_rows_of(local), context};
  if (heads != nullptr && context.rank() > 0) {
    // What all have done counts once.
    for (Tensor& tiles : heads->visited) tiles = tiles.slice(0, 0, 0);
  }
  return HiddenRows(std::move(hidden));
}

void Engine::agree_on(Tensor& logits) const {
  if (mesh_.context().size() > 1) mesh_.context().broadcast(logits, 0).wait();
}

Tensor Engine::decode(const Tensor& ids, const Tensor& positions, const model::KvBatch& sequences) {
  return decoder_.decode(ids, positions, sequences);
}

}  // namespace elastron::inference
