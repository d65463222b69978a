#include "bench/gpu/training_step.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "model/router_batch.h"
#include "ops/elementwise.h"
#include "train/plan/memory_check.h"
#include "train/step/step.h"

namespace elastron::bench {

namespace {

data::PackedBatch one_document(int64_t tokens, int64_t vocab) {
  data::Document document;
  for (int64_t t = 0; t < tokens; ++t) document.ids.push_back(int32_t(t * 7919 % vocab));
  document.user_length = 0;
  return data::make_packed_batch({&document});
}

}  // namespace

void fill_random(const Tensor& t, double scale) {
  constexpr int64_t kBlock = 1 << 20;
  std::mt19937 engine(7);
  std::normal_distribution<float> normal(0, float(scale));
  std::vector<float> values(size_t(std::min(kBlock, t.numel())));
  for (float& v : values) v = normal(engine);
  const int64_t count = int64_t(values.size());
  const Tensor block = ops::cast(Tensor::from(values, {count}, t.device()), t.dtype());
  Tensor flat = t.view({t.numel()});
  for (int64_t begin = 0; begin < t.numel(); begin += count) {
    const int64_t end = std::min(begin + count, t.numel());
    flat.slice(0, begin, end).copy_from(block.slice(0, 0, end - begin));
  }
}

Tensor random_tensor(const Shape& shape, DType dtype, double scale, Device& device) {
  Tensor t = Tensor::empty(shape, dtype, device);
  fill_random(t, scale);
  return t;
}

RouterCase::RouterCase(int64_t tokens, int64_t kv_heads, int64_t head_dim, Device& device)
    : router_(std::make_unique<router::AttentionRouter>(0, head_dim, data::kTaskCount, config_,
                                                        DType::f32, 1, true, device)),
      layer_(std::make_unique<router::RoutedLayer>(0, 0, config_, 1, *router_)),
      batch_(one_document(tokens, 1000)),
      router_batch_(model::make_router_batch(batch_, config_, 0, 1.0, true)),
      keys_(random_tensor({tokens, kv_heads, head_dim}, DType::bf16, 1, device)) {}

void RouterCase::decide() {
  router::SavedRoute route;
  layer_->decide(keys_, batch_.documents(), router_batch_, route);
}

TrainingStep::TrainingStep(const TrainingStepShape& shape, Device& device) : device_(device) {
  model::ModelConfig m;
  m.hidden_size = shape.hidden;
  m.intermediate_size = shape.intermediate;
  m.num_layers = shape.layers;
  m.q_heads = shape.q_heads;
  m.kv_heads = shape.kv_heads;
  m.head_dim = 128;
  m.vocab_size = shape.vocab;
  m.rope.theta = 1e6;
  const model::DecoderOptions options{.dtype = DType::bf16,
                                      .recompute = shape.recompute,
                                      .repack = false,
                                      .max_position = shape.tokens};
  decoder_ = std::make_unique<model::Decoder>(m, options, group_, device);
  for (Parameter* p : decoder_->parameters()) {
    fill_random(p->value, p->value.rank() == 2 ? 0.02 : 1);
  }
  ParameterList trained;
  for (int64_t i = 0; i < m.num_layers; ++i) {
    routers_.push_back(std::make_unique<router::AttentionRouter>(
        i, m.head_dim, data::kTaskCount, config_, DType::f32, uint64_t(i), true, device));
    ParameterList own;
    routers_.back()->append_parameters(own);
    // Gumbel noise on both logits: P(z = 1) is the sigmoid of their difference.
    for (Parameter* p : own) {
      if (p->logical_shape[0] != routers_.back()->classes()) continue;
      p->value.zero();
      if (p->logical_shape.rank() > 1) continue;
      const auto gap = float(std::log((1 - shape.msr) / shape.msr));
      std::vector<float> bias(size_t(p->value.numel()), 0.0f);
      bias.back() = gap;
      p->value.copy_from(Tensor::from(bias, p->value.shape(), device));
    }
    trained.insert(trained.end(), own.begin(), own.end());
    routed_.emplace_back(i, 0, config_, 1, *routers_.back());
  }
  optimizer_ = std::make_unique<train::Optimizer>(trained, train::Config{}.train.adam, 0.0);
  batch_ = one_document(shape.tokens, shape.vocab);
  device_batch_ = model::DeviceBatch::make(batch_, device);
  train::Config planned;
  planned.model.dtype = train::ComputeDType::bfloat16;
  planned.data.max_tokens = shape.tokens;
  planned.data.label_mode = data::LabelMode::all;
  planned.train.recompute = shape.recompute;
  planned_bytes_ = train::planned_memory(planned, m, {1, 1, 1}, device).total();
}

void TrainingStep::run() {
  const auto router_batch = model::make_router_batch(batch_, config_, step_, 1.0, true);
  model::SavedForward saved;
  Tensor hidden = decoder_->forward(device_batch_, router_batch, routed_, {.saved = &saved});
  auto loss = decoder_->loss(
      hidden, device_batch_,
      {.need_gradient = true, .gradient_scale = 1 / double(std::max<int64_t>(batch_.labels(), 1))});
  hidden = {};
  loss_ = loss.loss_sum() / double(std::max<int64_t>(loss.count, 1));
  gates_.clear();
  for (const auto& layer : saved.layers) gates_.push_back(layer.attention.route.gate);
  decoder_->backward(std::move(loss.d_hidden), device_batch_, router_batch, routed_, saved, {},
                     [](Parameter&) {});
  // A learning rate of nothing: every step has the same gates' distribution.
  optimizer_->step(++step_, {{ParameterGroup::router, 0.0}}, 1.0);
}

double TrainingStep::msr() const {
  double sparse = 0, all = 0;
  for (const uint8_t z : Tensor::stack(gates_).to_vector<uint8_t>()) {
    sparse += z == 0 ? 1 : 0;
    all += 1;
  }
  return sparse / all;
}

}  // namespace elastron::bench
