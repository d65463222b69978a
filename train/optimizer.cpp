#include "train/optimizer.h"

namespace elastron::train {

Optimizer::Optimizer(const ParameterList& parameters, const AdamWConfig& config,
                     double weight_decay)
    : config_(config), weight_decay_(weight_decay) {
  for (Parameter* p : parameters) {
    if (!p->trainable) continue;
    ELASTRON_CHECK(p->master.defined(), "trainable parameter without master: " + p->name);
    Device& device = p->master.device();
    if (!p->grad.defined()) p->grad = Tensor::zeros(p->master.shape(), p->master.dtype(), device);
    parameters_.push_back(p);
    moments_.push_back({Tensor::zeros(p->master.shape(), p->master.dtype(), device),
                        Tensor::zeros(p->master.shape(), p->master.dtype(), device)});
  }
}

void Optimizer::step(int64_t update_count, const std::map<ParameterGroup, double>& lr,
                     double grad_scale) {
  for (size_t i = 0; i < parameters_.size(); ++i) {
    Parameter& p = *parameters_[i];
    const ops::AdamWSettings settings{.lr = lr.at(p.group),
                                      .beta1 = config_.beta1,
                                      .beta2 = config_.beta2,
                                      .eps = config_.eps,
                                      .weight_decay = weight_decay_,
                                      .maximize = p.maximize};
    Tensor* value = p.value.raw() == p.master.raw() ? nullptr : &p.value;
    ops::adamw_step(p.master, p.grad, moments_[i].exp_avg, moments_[i].exp_avg_sq, value, settings,
                    update_count, grad_scale);
  }
}

double clip_factor(double global_norm, double max_norm) {
  if (max_norm <= 0) return 1.0;
  const double factor = max_norm / (global_norm + 1e-6);
  return factor < 1.0 ? factor : 1.0;
}

}  // namespace elastron::train
