// A decoder-only transformer (the families of model/weights/model_config.h) with routed attention:
// embedding, layers, final norm, LM head fused with the loss. The same code runs frozen (router
// training, evaluation) and trainable (pretraining), on one rank or split over a tensor-parallel
// group.
#pragma once
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "core/philox.h"
#include "data/packed_batch.h"
#include "model/decoder_layer.h"
#include "parallel/cross_entropy.h"
#include "parallel/embedding.h"

namespace elastron::model {

// A packed batch on the device, as the decoder reads it: all of it, or a context-parallel rank's
// own rows. Keeps a reference to the host batch.
struct DeviceBatch {
  const data::PackedBatch* host = nullptr;
  Tensor token_ids;  // [T] int32
  Tensor positions;  // [T] int32
  std::shared_ptr<const AttentionExchange> exchange;

  static DeviceBatch make(const data::PackedBatch& batch, Device& device);
  // `own`: rows of this rank, of which `exchange` knows what belongs to them elsewhere.
  static DeviceBatch make(const data::PackedBatch& own, Device& device,
                          std::unique_ptr<AttentionExchange> exchange);
};

// A forward pass, as the backward pass needs it.
struct SavedForward {
  std::vector<SavedLayer> layers;
  Tensor last;           // [R, E] input of the final norm: R as in model/layer_io.h
  Tensor final_inv_rms;  // [R]
};

// Says what the heads of each layer did, [layers], and where tokens went.
struct RoutedHeads {
  std::vector<Tensor> gates;    // [D, K] uint8, of documents
  std::vector<Tensor> visited;  // [S, K] int64, of sequences: ops::RoutedAttentionOutput::visited
  std::vector<ExpertLoad> experts;  // of each layer that has some
};

// A forward pass keeps and reports these beside its result; each is optional.
struct ForwardExtras {
  SavedForward* saved = nullptr;          // filled for backward()
  RoutedHeads* heads = nullptr;           // filled with what the heads did
  KvCache* cache = nullptr;               // of one sequence: filled for decode()
  AttentionObserver* observer = nullptr;  // sees every layer's queries and keys
};

class Decoder {
 public:
  // Allocates this rank's shards; fill them with load() or initialise(). The group and the device
  // must outlive the decoder. Throws UsageError where the group does not divide the heads or the
  // MLP.
  Decoder(const ModelConfig& config, const DecoderOptions& options, parallel::Communicator& tensor,
          Device& device);

  const ModelConfig& config() const { return config_; }
  const DecoderOptions& options() const { return options_; }
  // All backbone parameters, in forward order.
  const ParameterList& parameters() const { return parameters_; }
  // Those of the low-rank adapters (options().lora), in forward order.
  const ParameterList& adapters() const { return adapters_; }
  // A uniform in +- 1 / sqrt(in), B zero, so that nothing changes at first; keyed as initialise().
  void initialise_adapters(uint64_t seed);

  // N(0, initializer_range^2) for matrices, 1 for norms, 0 for biases, keyed by (seed, logical
  // name, logical element): the same on any layout.
  void initialise(uint64_t seed);

  // Runs all layers; `routed` has one entry per layer. -> final hidden states after the last norm
  // [T, E].
  Tensor forward(const DeviceBatch& batch, const router::RouterBatch& router_batch,
                 std::vector<router::RoutedLayer>& routed, const ForwardExtras& extras = {});

  // Inference: a token of each sequence and its position, [B] int32 each, after those that are in
  // `sequences`. -> hidden states after the last norm [B, E]. What the device is asked for does not
  // depend on their values; that positions are below max_position is the caller's care.
  Tensor decode(const Tensor& tokens, const Tensor& positions, const KvBatch& sequences);

  // LM head and cross-entropy over the labelled positions (docs/method.md, Language-model loss),
  // options().loss_chunk_rows of them at a time, whatever `options` say. hidden [T, E], targets
  // [T]: data::kNoLabel where there is none. Needs options().lm_head.
  parallel::CrossEntropyResult loss(const Tensor& hidden, std::span<const int32_t> targets,
                                    parallel::CrossEntropyOptions options) const;
  // The same with the batch's own targets.
  parallel::CrossEntropyResult loss(const Tensor& hidden, const DeviceBatch& batch,
                                    const parallel::CrossEntropyOptions& options) const {
    return loss(hidden, batch.host->targets, options);
  }

  // hidden [rows, E] -> logits [rows, vocab], whole, on every rank of the group. For few rows at a
  // time.
  Tensor logits(const Tensor& hidden) const;

  // d_hidden [T, E]: gradient to forward()'s result. d_gate[l]: the objective's own gradient to the
  // gates of layer l (undefined tensors without a router). Frees `saved` layer by layer.
  void backward(Tensor d_hidden, const DeviceBatch& batch, const router::RouterBatch& router_batch,
                std::vector<router::RoutedLayer>& routed, SavedForward& saved,
                const std::vector<Tensor>& d_gate, const parallel::GradientSink& on_gradient);

 private:
  // The shard of a matrix, each number of which is a function of its place in the logical one.
  void fill_logical(Parameter& p, const RandomStream& stream,
                    const std::function<double(const RandomStream&, uint64_t)>& number) const;
  LayerInputs layer_inputs(const DeviceBatch& batch, const router::RouterBatch& router_batch) const;

  ModelConfig config_;
  DecoderOptions options_;
  parallel::TensorRegion region_;
  Device& device_;
  std::unique_ptr<parallel::VocabParallelEmbedding> embedding_;
  std::unique_ptr<parallel::VocabParallelHead> head_;
  std::vector<std::unique_ptr<DecoderLayer>> layers_;
  Parameter final_norm_;
  Tensor rope_table_;
  ParameterList parameters_, adapters_;
};

}  // namespace elastron::model
