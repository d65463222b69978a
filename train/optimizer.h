// AdamW over the trainable parameters, with a learning rate per group (spec 7.4).
#pragma once
#include <map>
#include <string>
#include <vector>

#include "core/parameter.h"
#include "ops/adamw.h"

namespace elastron::train {

struct AdamWConfig {
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
};

// First and second moments of one parameter: local shards, master dtype.
struct Moments {
  Tensor exp_avg, exp_avg_sq;
};

class Optimizer {
 public:
  // Keeps pointers to the trainable ones among `parameters`, which must outlive it. Allocates their
  // moments (zero) and, where missing, their gradients.
  // weight_decay applies to every trainable tensor, biases and lambdas included (spec 7.4).
  Optimizer(const ParameterList& parameters, const AdamWConfig& config, double weight_decay);
  // update_count counts from 1 (bias correction); lr by group; grad_scale from clipping.
  void step(int64_t update_count, const std::map<ParameterGroup, double>& lr, double grad_scale);

  const ParameterList& parameters() const { return parameters_; }
  std::vector<Moments>& moments() { return moments_; }  // in the order of parameters()

 private:
  ParameterList parameters_;
  std::vector<Moments> moments_;
  AdamWConfig config_;
  double weight_decay_;
};

// Factor that brings a global norm down to `max_norm` (<= 0: never clip), as
// torch.nn.utils.clip_grad_norm_.
double clip_factor(double global_norm, double max_norm);

}  // namespace elastron::train
