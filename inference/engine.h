// A model folder opened for forward passes only, with what decides the gates of its heads. An
// engine holds no state of a sequence, so that several can be decoded in turn: each has a cache of
// its own.
//
// Ranks of a context group have the same weights and work on the same sequences: each computes some
// rows of a long prompt, and caches a part of the kv heads where the group divides those of a rank
// (docs/parallelism.md, Inference).
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "inference/cache_batch.h"
#include "inference/hidden_rows.h"
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
  // The ranks that cache a part of this rank's kv heads each, in their order; null: all are cached
  // here.
  parallel::Communicator* heads_over() const;
  // ops::RoutedAttentionOutput::visited of a head with full attention.
  int64_t dense_tiles(int64_t tokens) const;

  // Of a sequence of up to `tokens` tokens.
  CacheShape cache_shape(int64_t tokens, const CacheOptions& options) const;
  // For sequences of this engine.
  PagePool make_pool(const PoolOptions& options) const {
    return {model().head_dim, options_.dtype, options, device_};
  }

  // All of these are collective over the tensor group, on each rank of which the results are the
  // same, and but for logits() over the context group too; E hidden size.
  // One sequence of at least one token id -> hidden states after the last norm [T, E]. `heads` says
  // what the heads did: the gates of this rank's kv heads, and the tiles that it visited, its part of
  // the context group's sum. `cache` is filled, for decode().
  HiddenRows forward(std::span<const int32_t> ids, model::RoutedHeads* heads = nullptr,
                     model::KvCache* cache = nullptr);
  // A token of each sequence and its position, [B] int32 each, behind those in the cache -> [B, E].
  Tensor decode(const Tensor& ids, const Tensor& positions, const model::KvBatch& sequences);
  // hidden [rows, E] -> [rows, vocab], whole. For few rows at a time.
  Tensor logits(const Tensor& hidden) const { return decoder_.logits(hidden); }
  // Gives all ranks of the context group what its first one has: logits by which all go on must be
  // the same bits, and products of other machines may not be.
  void agree_on(Tensor& logits) const;

 private:
  router::KvHeads kv_heads() const;
  int64_t context_block() const;
  bool shares_rows(const data::PackedBatch& prompt) const;

  EngineOptions options_;
  parallel::Mesh& mesh_;
  Device& device_;
  parallel::SelfCommunicator alone_{"context"};
  model::Decoder decoder_;
  std::unique_ptr<router::LayerRouters> routers_;
  std::vector<router::RoutedLayer> routed_;
};

}  // namespace elastron::inference
