// AdamW over the trainable parameters, with a learning rate per group (docs/method.md, Optimiser).
#pragma once
#include <map>
#include <string>
#include <vector>

#include "core/parameter.h"
#include "ops/adamw.h"
#include "parallel/communicator.h"

namespace elastron::train {

struct AdamWConfig {
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
};

// First and second moments of one parameter: local shards, master dtype. Undefined where another
// rank keeps them.
struct Moments {
  Tensor exp_avg, exp_avg_sq;
};

class Optimizer {
 public:
  // Keeps pointers to the trainable ones among `parameters`, which must outlive it. Allocates their
  // moments (zero) and, where missing, their gradients.
  // weight_decay applies to every trainable tensor, biases and lambdas included (docs/method.md,
  // Optimiser).
  //
  // `sharing`: null, or a group whose ranks hold the same values and gradients. Each then keeps the
  // moments (and the masters, where they are other tensors than the values) of its part of the
  // parameters only, updates these, and sends the values to the others: the same bits as without.
  Optimizer(const ParameterList& parameters, const AdamWConfig& config, double weight_decay,
            parallel::Communicator* sharing = nullptr);
  // update_count counts from 1 (bias correction); lr by group; grad_scale from clipping.
  void step(int64_t update_count, const std::map<ParameterGroup, double>& lr, double grad_scale);

  const ParameterList& parameters() const { return parameters_; }
  std::vector<Moments>& moments() { return moments_; }  // in the order of parameters()
  const std::vector<Moments>& moments() const { return moments_; }
  // Which rank of `sharing` keeps the state of each parameter; zeros without.
  const std::vector<int>& owners() const { return owners_; }

 private:
  bool owned(size_t i) const { return sharing_ == nullptr || owners_[i] == sharing_->rank(); }

  ParameterList parameters_;
  std::vector<Moments> moments_;
  std::vector<int> owners_;
  AdamWConfig config_;
  double weight_decay_;
  parallel::Communicator* sharing_;
};

// Which of `ranks` keeps which parameter, so that all keep about as many elements: a function of
// the logical shapes alone, the largest first.
std::vector<int> share_parameters(const ParameterList& parameters, int ranks);

// Factor that brings a global norm down to `max_norm` (<= 0: never clip), as
// torch.nn.utils.clip_grad_norm_.
double clip_factor(double global_norm, double max_norm);

}  // namespace elastron::train
