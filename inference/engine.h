// A model folder opened for forward passes only, with what decides the gates of its heads. An
// engine holds no state of a sequence, so that several can be decoded in turn: each has a cache of
// its own.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "inference/cache_batch.h"
#include "model/decoder.h"
#include "model/weights/model_folder.h"
#include "parallel/mesh.h"
#include "router/exchange.h"
#include "router/forced_gate.h"
#include "router/layer_routers.h"

namespace elastron::inference {

struct EngineOptions {
  DType dtype = DType::f32;      // of the weights and of what is computed
  std::optional<DType> storage;  // as model::DecoderOptions has it
  int64_t max_position = 0;      // tokens of the longest sequence
  router::RouterConfig
      routing;  // which keys a sparse head sees, and what its router was trained by
};

// How a sequence remembers its keys while it is decoded.
struct CacheOptions {
  bool keep_all = false;     // sparse heads see all keys, as full ones do
  bool whole_blocks = true;  // their local window is whole blocks; otherwise tokens exactly
};

class Engine {
 public:
  // Reads this rank's weights; every head attends fully. Mesh and device must outlive the engine.
  // No communication. Throws InputError for a folder that does not fit, UsageError where the tensor
  // group does not divide the model.
  Engine(const model::ModelFolder& folder, const EngineOptions& options, parallel::Mesh& mesh,
         Device& device);
  // A model of this shape whose weights are undefined: for devices that hold no values.
  Engine(const model::ModelConfig& model, const EngineOptions& options, parallel::Mesh& mesh,
         Device& device);

  // From now on a trained router decides, whose settings are options.routing. `where` names it in
  // the InputError that is thrown where it is another model's.
  void route_by(const router::StoredRouter& trained, const std::string& where);
  // From now on every sequence has these gates.
  void route_by(const router::StaticGates& gates);

  const model::ModelConfig& model() const { return decoder_.config(); }
  parallel::Mesh& mesh() const { return mesh_; }
  Device& device() const { return device_; }
  DType dtype() const { return options_.dtype; }
  int64_t max_position() const { return options_.max_position; }
  int64_t first_kv_head() const;  // of this rank
  // ops::RoutedAttentionOutput::visited of a head with full attention.
  int64_t dense_tiles(int64_t tokens) const;

  // Of a sequence of up to `tokens` tokens.
  CacheShape cache_shape(int64_t tokens, const CacheOptions& options) const;
  // For sequences of this engine.
  PagePool make_pool(const PoolOptions& options) const {
    return {model().head_dim, options_.dtype, options, device_};
  }

  // All of these are collective over the tensor group, on each rank of which the results are the
  // same; E hidden size.
  // One sequence of at least one token id -> hidden states after the last norm [T, E]. `heads` says
  // what the heads did; `cache` is filled, for decode().
  Tensor forward(std::span<const int32_t> ids, model::RoutedHeads* heads = nullptr,
                 model::KvCache* cache = nullptr);
  // A token of each sequence and its position, [B] int32 each, behind those in the cache -> [B, E].
  Tensor decode(const Tensor& ids, const Tensor& positions, const model::KvBatch& sequences);
  // hidden [rows, E] -> [rows, vocab], whole. For few rows at a time.
  Tensor logits(const Tensor& hidden) const { return decoder_.logits(hidden); }

 private:
  router::KvHeads kv_heads() const;

  EngineOptions options_;
  parallel::Mesh& mesh_;
  Device& device_;
  model::Decoder decoder_;
  std::unique_ptr<router::LayerRouters> routers_;
  std::vector<router::RoutedLayer> routed_;
};

}  // namespace elastron::inference
