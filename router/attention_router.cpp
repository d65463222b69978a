#include "router/attention_router.h"

#include <cmath>

#include "core/philox.h"
#include "ops/elementwise.h"
#include "ops/embedding.h"
#include "ops/gate.h"

namespace elastron::router {

namespace {

constexpr std::array<const char*, 5> kNames = {"task.0", "task.2", "router.0", "router.2",
                                               "router.4"};

Parameter make_parameter(const std::string& name, const Shape& shape, DType dtype, bool trainable,
                         bool partial, Device& device) {
  Parameter p;
  p.name = name;
  p.logical_shape = shape;
  p.group = ParameterGroup::router;
  p.trainable = trainable;
  p.gradient_partial_over_tensor = partial;
  p.value = Tensor::zeros(shape, dtype, device);
  if (trainable) {
    p.master = p.value;
    p.grad = Tensor::zeros(shape, dtype, device);
  }
  return p;
}

template <class F>
void fill(Tensor& t, const F& value) {
  if (!t.device().holds_values()) return;
  std::vector<float> values(size_t(t.numel()));
  for (size_t i = 0; i < values.size(); ++i) values[i] = value(i);
  ops::cast_into(Tensor::from(values, t.shape(), t.device()), t);
}

RandomStream init_stream(uint64_t seed, const Parameter& p) {
  return {seed, RandomPurpose::router_init, random_coordinate(p.name)};
}

// Of the last layer, whose weights are 0 (docs/method.md, Initialisation).
float last_bias(const RouterConfig& config, int64_t c) {
  if (config.init == Init::kaiming) return 1.0f;
  return c == config.classes() - 1 ? 4.5f : 0.0f;  // full attention
}

void fill_normal(Parameter& p, double deviation, const RandomStream& stream) {
  fill(p.value, [&](size_t e) { return float(deviation * stream.normal_at(e)); });
}

}  // namespace

std::vector<RouterTensor> router_tensors(int64_t head_dim, int64_t tasks,
                                         const RouterConfig& config) {
  const auto &task = config.task_widths, &own = config.widths;
  ELASTRON_CHECK(task.size() == 2 && own.size() == 2, "two widths for each MLP of a router");
  const std::array<int64_t, kNames.size()> outputs = {task[0] * head_dim, task[1] * head_dim,
                                                      own[0] * head_dim, own[1] * head_dim,
                                                      config.classes()};
  std::vector<RouterTensor> list;
  int64_t in = head_dim;
  for (size_t i = 0; i < kNames.size(); ++i) {
    list.push_back({std::string(kNames[i]) + ".weight", {outputs[i], in}});
    list.push_back({std::string(kNames[i]) + ".bias", {outputs[i]}});
    in = outputs[i];
  }
  if (config.task_embedding) list.push_back({"task_embedding.weight", {tasks, head_dim}});
  if (config.tau_schedule == TauSchedule::learned) list.push_back({"log_tau", {1}});
  return list;
}

AttentionRouter::AttentionRouter(int64_t layer, int64_t head_dim, int64_t tasks,
                                 const RouterConfig& config, DType dtype, uint64_t seed,
                                 bool trainable, Device& device)
    : head_dim_(head_dim),
      classes_(config.classes()),
      bfloat16_(config.dtype == RouterDType::bfloat16) {
  if (bfloat16_ && dtype != DType::f32) {
    throw UsageError("a router in bfloat16 under a model in " + std::string(dtype_name(dtype)),
                     "router.dtype", "use float32, or another model.dtype");
  }
  const std::string layer_name = "router.layers." + std::to_string(layer) + ".";
  const auto tensors = router_tensors(head_dim, tasks, config);
  auto next = tensors.begin();
  const auto make = [&] {
    const RouterTensor& tensor = *next++;
    return make_parameter(layer_name + tensor.leaf, tensor.shape, dtype, trainable,
                          /*partial=*/!config.by_layer(), device);
  };
  for (size_t i = 0; i < size_t(kLinears); ++i) {
    weight_[i] = make();
    bias_[i] = make();
    const RandomStream stream = init_stream(seed, weight_[i]);
    const bool published = config.init != Init::normal && i >= 2;
    if (published && i == 4) {
      fill(bias_[i].value, [&](size_t c) { return last_bias(config, int64_t(c)); });
    } else if (published) {
      const double bound = 1.0 / std::sqrt(double(weight_[i].logical_shape[1]));
      fill(weight_[i].value,
           [&](size_t e) { return float(bound * (2.0 * double(stream.uniform_at(e)) - 1.0)); });
    } else {
      fill_normal(weight_[i], config.init_std, stream);
    }
    linear_[i] = ops::LinearWeight(weight_[i].value, ops::weight_form(trainable));
  }
  if (config.task_embedding) {
    task_embedding_ = make();
    fill_normal(*task_embedding_, config.init_std, init_stream(seed, *task_embedding_));
  }
  if (config.tau_schedule == TauSchedule::learned) {
    log_tau_ = make();
    fill(log_tau_->value, [&](size_t) { return float(std::log(config.tau.init)); });
    log_tau_read_ = ops::cast(log_tau_->value, DType::f64).to_vector<double>()[0];
  }
}

void AttentionRouter::append_parameters(ParameterList& list) {
  for (size_t i = 0; i < size_t(kLinears); ++i) {
    list.push_back(&weight_[i]);
    list.push_back(&bias_[i]);
  }
  if (task_embedding_) list.push_back(&*task_embedding_);
  if (log_tau_) list.push_back(&*log_tau_);
}

std::vector<ops::ChainLayer> AttentionRouter::layers() const {
  std::vector<ops::ChainLayer> layers;
  for (size_t i = 0; i < size_t(kLinears); ++i) {
    layers.push_back({&linear_[i], bias_[i].value, kActivation[i]});
  }
  return layers;
}

DType AttentionRouter::compute() const {
  return bfloat16_ ? DType::bf16 : weight_[0].value.dtype();
}

double AttentionRouter::temperature(double scheduled) const {
  return log_tau_ ? learned_temperature(log_tau_read_).tau : scheduled;
}

void AttentionRouter::temperature_backward(const Tensor& d_gate, const Tensor& probability) {
  if (!log_tau_ || !learned_temperature(log_tau_read_).moves) return;
  ops::gate_tau_backward(d_gate, probability, log_tau_->grad);
}

Tensor AttentionRouter::forward(const Tensor& pooled, SavedRouter* saved,
                                std::span<const int32_t> tasks) const {
  const int64_t sequences = pooled.size(0), heads = pooled.size(1);
  Tensor x = pooled.view({sequences * heads, head_dim_});
  if (task_embedding_ && !tasks.empty()) {
    ELASTRON_CHECK(int64_t(tasks.size()) == sequences, "one task per sequence");
    std::vector<int32_t> rows;
    for (const int32_t task : tasks) rows.insert(rows.end(), size_t(heads), task);
    const Tensor ids = Tensor::from(rows, {sequences * heads}, pooled.device());
    x = ops::add(x, ops::embedding_forward(ids, task_embedding_->value, 0));
    if (saved != nullptr) saved->tasks = ids;
  }
  x = ops::mlp_chain_forward(x, layers(), compute(), saved != nullptr ? &saved->chain : nullptr);
  return x.view({sequences, heads, classes_});
}

Tensor AttentionRouter::backward(const Tensor& d_logits, const SavedRouter& saved,
                                 bool need_input) {
  ELASTRON_CHECK(weight_[0].trainable, "this router is not trained");
  const int64_t sequences = d_logits.size(0), heads = d_logits.size(1);
  std::vector<ops::ChainGradient> gradients;
  for (size_t i = 0; i < size_t(kLinears); ++i) {
    gradients.push_back({weight_[i].grad, bias_[i].grad});
  }
  const Tensor d =
      ops::mlp_chain_backward(d_logits.view({sequences * heads, classes_}), layers(), compute(),
                              saved.chain, gradients, need_input || saved.tasks.defined());
  if (!d.defined()) return {};
  if (saved.tasks.defined()) {
    ops::embedding_backward(d, saved.tasks, 0, task_embedding_->grad);
    if (!need_input) return {};
  }
  return d.view({sequences, heads, head_dim_});
}

}  // namespace elastron::router
