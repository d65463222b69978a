// The Attention Router of one layer: a task MLP and a router MLP, shared by all kv heads of the
// layer (spec 1.4, paper section 3).
//
// S sequences, K kv heads of this rank, D head_dim, M = hidden_mult * D, C classes (2: (SA, FA)).
#pragma once
#include <array>
#include <cstdint>
#include <functional>

#include "core/parameter.h"
#include "ops/linear.h"
#include "router/config.h"

namespace elastron::router {

// Activations kept for backward: [S * K, width] each, in the dtype the router computes in.
struct SavedRouter {
  std::array<Tensor, 5> input;   // of each linear layer
  std::array<Tensor, 4> before;  // SiLU inputs; undefined where no SiLU follows
};

class AttentionRouter {
 public:
  // Parameters are replicated over tensor-parallel ranks and applied to the rank's own kv heads, so
  // their gradients are partial there. dtype: float32, or float64 for checks. Initialised from
  // (seed, parameter name, element): the same on any layout (spec 1.5).
  AttentionRouter(int64_t layer, int64_t head_dim, const RouterConfig& config, DType dtype,
                  uint64_t seed, bool trainable, Device& device);

  // "router.layers.<i>.{task.0,task.2,router.0,router.2,router.4}.{weight,bias}": spec 11.1.
  void append_parameters(ParameterList& list);
  int64_t classes() const { return classes_; }

  // pooled [S, K, D] -> logits [S, K, C], both in the parameters' dtype. Rows do not depend on each
  // other.
  Tensor forward(const Tensor& pooled, SavedRouter* saved) const;
  // d_logits [S, K, C] -> d_pooled [S, K, D], or an undefined tensor when `need_input` is false;
  // accumulates the parameters' gradients. Trainable routers only.
  Tensor backward(const Tensor& d_logits, const SavedRouter& saved, bool need_input = true);

 private:
  // Weight `i` as the products read it: in place, or rounded to bfloat16 (router.dtype).
  ops::LinearWeight rounded(size_t i) const;

  static constexpr int kLinears = 5;
  // Whether a SiLU follows the linear layer: task.0, router.0 and router.2.
  static constexpr std::array<bool, kLinears> kActivation = {true, false, true, true, false};

  int64_t head_dim_, classes_;
  bool bfloat16_;
  std::array<Parameter, kLinears> weight_, bias_;
  std::array<ops::LinearWeight, kLinears> linear_;
};

}  // namespace elastron::router
