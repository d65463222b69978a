#include "model/decoder.h"

#include <algorithm>
#include <cmath>

#include "core/philox.h"
#include "core/trace.h"
#include "model/backbone_parameter.h"
#include "model/quantised_parameter.h"
#include "ops/elementwise.h"
#include "ops/rms_norm.h"
#include "ops/rope.h"

namespace elastron::model {

DeviceBatch DeviceBatch::make(const data::PackedBatch& batch, Device& device) {
  return make(batch, device, local_attention(batch, device));
}

DeviceBatch DeviceBatch::make(const data::PackedBatch& own, Device& device,
                              std::unique_ptr<AttentionExchange> exchange) {
  const TraceRange range("batch");
  const Shape tokens{own.tokens()};
  return {.host = &own,
          .token_ids = Tensor::from(own.token_ids, tokens, device),
          .positions = Tensor::from(own.positions, tokens, device),
          .exchange = std::move(exchange)};
}

namespace {

void set_value(Parameter& p, const Tensor& source) {
  ops::cast_into(source, p.value);
  if (p.trainable && p.master.raw() != p.value.raw()) ops::cast_into(source, p.master);
}

void check_divides(int64_t value, int group, const char* what) {
  if (value % group != 0) {
    throw UsageError("parallel.tensor = " + std::to_string(group) + " does not divide " + what +
                         " = " + std::to_string(value),
                     "model", "choose a divisor of " + std::to_string(value));
  }
}

}  // namespace

Decoder::Decoder(const ModelConfig& config, const DecoderOptions& options,
                 parallel::Communicator& tensor, Device& device)
    : config_(config), options_(options), region_(tensor, options.split_rows), device_(device) {
  if (options.lm_head && config.sequence_classifier) {
    throw InputError("the model is a " + config.architecture + ": it has no LM head", "model",
                     "use a folder of a causal language model");
  }
  check_divides(config.kv_heads, tensor.size(), "num_key_value_heads");
  if (config.experts) check_divides(config.experts->width, tensor.size(), "moe_intermediate_size");
  if (!config.mlps_divide_over(tensor.size())) {
    check_divides(config.intermediate_size, tensor.size(), "intermediate_size");
  }
  check_experts(config, options);

  const WeightStorage storage = matrix_storage(config, options);
  embedding_ = std::make_unique<parallel::VocabParallelEmbedding>(
      "model.embed_tokens.weight", config.vocab_size, config.hidden_size, options.dtype,
      options.train_backbone, tensor, device, storage);
  parameters_.push_back(&embedding_->parameter());
  for (int64_t i = 0; i < config.num_layers; ++i) {
    layers_.push_back(std::make_unique<DecoderLayer>(i, config, options, tensor, device));
    layers_.back()->append_parameters(parameters_);
    layers_.back()->append_adapters(adapters_);
  }
  final_norm_ = replicated_weight("model.norm.weight", {config.hidden_size}, options, device);
  final_norm_.gradient_partial_over_tensor = region_.split();
  parameters_.push_back(&final_norm_);
  if (options.lm_head && config.tie_word_embeddings) {
    head_ = std::make_unique<parallel::VocabParallelHead>(embedding_->parameter(), tensor);
  } else if (options.lm_head) {
    head_ = std::make_unique<parallel::VocabParallelHead>(
        "lm_head.weight", config.vocab_size, config.hidden_size, options.dtype,
        options.train_backbone, tensor, device, storage);
    parameters_.push_back(&head_->parameter());
  }
  if (head_ && !options.repack) head_->use_as_stored();
  const TraceRange range("rotary table");
  rope_table_ = ops::rope_table(config.head_dim, config.rope, options.max_position,
                                accumulator_dtype(options.dtype), device);
}

void Decoder::fill_logical(
    Parameter& p, const RandomStream& stream,
    const std::function<double(const RandomStream&, uint64_t element)>& number) const {
  if (!device_.holds_values()) return;
  const auto numbers = [&](const SafetensorsFile::Window& w, Tensor& to) {
    auto* next = to.data<float>();
    for (int64_t r = w.r0; r < w.r1; ++r) {
      for (int64_t c = w.c0; c < w.c1; ++c) {
        *next++ = float(number(stream, uint64_t(r * p.logical_shape[1] + c)));
      }
    }
  };
  if (p.scale.defined()) {
    fill_quantised(p, numbers);
    return;
  }
  const Shape local = local_shape(p);
  const int64_t r0 = p.partition.dim == 0 ? p.partition.offset : 0;
  const int64_t c0 = p.partition.dim == 1 ? p.partition.offset : 0;
  Tensor values = Tensor::empty(local, DType::f32, host_device());
  numbers({r0, r0 + local[0], c0, c0 + local[1]}, values);
  set_value(p, values.to(device_));
}

void Decoder::initialise(uint64_t seed) {
  for (Parameter* p : parameters_) {
    const Shape local = local_shape(*p);
    if (local.rank() != 2) {
      const float value = parallel::is_bias(*p) ? 0.0f : 1.0f;
      set_value(*p, Tensor::from(std::vector<float>(size_t(local.numel()), value), local, device_));
      continue;
    }
    fill_logical(*p, RandomStream(seed, RandomPurpose::backbone_init, random_coordinate(p->name)),
                 [this](const RandomStream& stream, uint64_t element) {
                   return config_.initializer_range * stream.normal_at(element);
                 });
  }
}

void Decoder::initialise_adapters(uint64_t seed) {
  for (Parameter* p : adapters_) {
    if (!p->name.ends_with(".lora_A.weight")) continue;
    const double bound = 1 / std::sqrt(double(p->logical_shape[1]));
    fill_logical(*p, RandomStream(seed, RandomPurpose::adapter_init, random_coordinate(p->name)),
                 [bound](const RandomStream& stream, uint64_t element) {
                   return bound * (2 * double(stream.uniform_at(element)) - 1);
                 });
  }
}

LayerInputs Decoder::layer_inputs(const DeviceBatch& batch,
                                  const router::RouterBatch& router_batch) const {
  return {.positions = batch.positions,
          .rope_table = rope_table_,
          .exchange = batch.exchange.get(),
          .documents = batch.host->documents(),
          .router_batch = &router_batch};
}

Tensor Decoder::forward(const DeviceBatch& batch, const router::RouterBatch& router_batch,
                        std::vector<router::RoutedLayer>& routed, const ForwardExtras& extras) {
  ELASTRON_CHECK(routed.size() == layers_.size(), "one routed layer per decoder layer");
  ELASTRON_CHECK(
      extras.cache == nullptr || (batch.host->documents() == 1 && batch.host->prefix_of.empty()),
      "a cache is of one sequence");
  LayerInputs in = layer_inputs(batch, router_batch);
  in.cache = extras.cache;
  in.observer = extras.observer;
  SavedForward* saved = extras.saved;
  if (saved != nullptr) saved->layers = std::vector<SavedLayer>(layers_.size());
  router::prepare(routed);
  Tensor x = region_.leave(embedding_->forward(batch.token_ids));
  for (size_t i = 0; i < layers_.size(); ++i) {
    LayerOutput out =
        layers_[i]->forward(x, in, routed[i], saved != nullptr ? &saved->layers[i] : nullptr);
    x = std::move(out.x);
    if (extras.heads == nullptr) continue;
    extras.heads->gates.push_back(out.gate);
    extras.heads->visited.push_back(out.visited);
    if (out.experts.bounds.defined()) extras.heads->experts.push_back(out.experts);
  }
  auto [normed, inv_rms] = ops::rms_norm_forward(x, final_norm_.value, config_.rms_norm_eps);
  if (saved != nullptr) {
    saved->last = x;
    saved->final_inv_rms = inv_rms;
  }
  return region_.enter(normed);
}

Tensor Decoder::decode(const Tensor& tokens, const Tensor& positions, const KvBatch& sequences) {
  const LayerInputs in = {.positions = positions, .rope_table = rope_table_, .decoded = &sequences};
  Tensor x = region_.leave(embedding_->forward(tokens));
  for (const auto& layer : layers_) x = layer->decode(x, in);
  return ops::rms_norm_forward(x, final_norm_.value, config_.rms_norm_eps).y;
}

parallel::CrossEntropyResult Decoder::loss(const Tensor& hidden, std::span<const int32_t> targets,
                                           parallel::CrossEntropyOptions options) const {
  options.chunk_rows = options_.loss_chunk_rows;
  return head_->loss(hidden, targets, options);
}

Tensor Decoder::logits(const Tensor& hidden) const { return head_->logits(hidden); }

void Decoder::backward(Tensor d_hidden, const DeviceBatch& batch,
                       const router::RouterBatch& router_batch,
                       std::vector<router::RoutedLayer>& routed, SavedForward& saved,
                       const std::vector<Tensor>& d_gate,
                       const parallel::GradientSink& on_gradient) {
  const bool train = options_.train_backbone;
  const LayerInputs in = layer_inputs(batch, router_batch);
  if (train && head_ && !config_.tie_word_embeddings) on_gradient(head_->parameter());
  Tensor d = ops::rms_norm_backward(region_.own(d_hidden), saved.last, final_norm_.value,
                                    saved.final_inv_rms, {}, train ? &final_norm_.grad : nullptr);
  if (train) on_gradient(final_norm_);
  d_hidden = saved.last = {};
  for (size_t i = layers_.size(); i-- > 0;) {
    // Below the lowest layer there is nothing to train unless the embedding is.
    const LayerBackward want{.d_gate_objective = d_gate.empty() ? Tensor{} : d_gate[i],
                             .need_input = i > 0 || train,
                             .on_gradient = on_gradient};
    d = layers_[i]->backward(std::move(d), in, routed[i], want, saved.layers[i]);
    saved.layers[i] = {};
  }
  if (train) {
    embedding_->backward_weight(region_.enter(d), batch.token_ids);
    on_gradient(embedding_->parameter());
  }
}

}  // namespace elastron::model
