// The Attention Router of one layer: a task MLP and a router MLP, shared by all kv heads of the
// layer (docs/method.md, Router network, paper section 3), or run once for the layer (Routing by
// layer).
//
// Two options of the reference code: a vector per task added to what the MLPs read, in training
// only (router.task_embedding), and a temperature of its own (router.tau_schedule: learned).
//
// S sequences, K decisions of each: this rank's kv heads, or one; D head_dim, C classes (2: (SA,
// FA)).
#pragma once
#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/parameter.h"
#include "ops/linear.h"
#include "ops/mlp_chain.h"
#include "router/config.h"
#include "router/tau.h"

namespace elastron::router {

// A tensor of a router: its name below "router.layers.<i>.", and its shape.
struct RouterTensor {
  std::string leaf;
  Shape shape;
};
// {task.0,task.2,router.0,router.2,router.4}.{weight,bias}: docs/method.md, Published names. With
// the options also task_embedding.weight [tasks, D] and log_tau [1].
std::vector<RouterTensor> router_tensors(int64_t head_dim, int64_t tasks,
                                         const RouterConfig& config);

// Kept for backward.
struct SavedRouter {
  ops::ChainSaved chain;  // activations [S * K, width]
  Tensor tasks;           // [S * K] int32; undefined without a task embedding

  // What the task MLP reads and gives, [S * K, width], in router.dtype: the pooled vectors (in
  // training with the task embedding), and the output of task.2, which no SiLU follows.
  const Tensor& read() const { return chain.input.at(0); }
  const Tensor& task_features() const { return chain.input.at(2); }
};

class AttentionRouter {
 public:
  // Parameters are replicated over tensor-parallel ranks. Applied to the rank's own kv heads their
  // gradients are partial there; those of a router by layer are whole on every rank. dtype: float32, or float64 for checks. Initialised from
  // (seed, parameter name, element): the same on any layout (docs/method.md, Initialisation).
  // `tasks`: rows of the task embedding.
  AttentionRouter(int64_t layer, int64_t head_dim, int64_t tasks, const RouterConfig& config,
                  DType dtype, uint64_t seed, bool trainable, Device& device);

  // As router_tensors lists them.
  void append_parameters(ParameterList& list);
  int64_t classes() const { return classes_; }
  bool trainable() const { return weight_[0].trainable; }

  // pooled [S, K, D] -> logits [S, K, C], both in the parameters' dtype. Rows do not depend on each
  // other. `tasks` [S]: task ids where this is a training step, otherwise empty.
  Tensor forward(const Tensor& pooled, SavedRouter* saved,
                 std::span<const int32_t> tasks = {}) const;
  // d_logits [S, K, C] -> d_pooled [S, K, D], or an undefined tensor when `need_input` is false;
  // accumulates the parameters' gradients. Trainable routers only.
  Tensor backward(const Tensor& d_logits, const SavedRouter& saved, bool need_input = true);

  // ln of the layer's own temperature [1], null without one; and as the host has read it.
  const Tensor* log_tau() const { return log_tau_ ? &log_tau_->value : nullptr; }
  void set_log_tau(double value) { log_tau_read_ = value; }
  // The gate's temperature in training: `scheduled`, or the layer's own as it was read.
  double temperature(double scheduled) const;
  // d_gate and probability [S, K]: accumulates the gradient of the layer's own temperature, if any.
  void temperature_backward(const Tensor& d_gate, const Tensor& probability);

 private:
  std::vector<ops::ChainLayer> layers() const;
  DType compute() const;  // router.dtype

  static constexpr int kLinears = 5;
  // Whether a SiLU follows the linear layer: task.0, router.0 and router.2.
  static constexpr std::array<bool, kLinears> kActivation = {true, false, true, true, false};

  int64_t head_dim_, classes_;
  bool bfloat16_;
  std::array<Parameter, kLinears> weight_, bias_;
  std::optional<Parameter> task_embedding_, log_tau_;
  double log_tau_read_ = 0;
  std::array<ops::LinearWeight, kLinears> linear_;
};

}  // namespace elastron::router
